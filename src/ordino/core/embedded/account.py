"""The system user that the server runs as. PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from ordino.core.embedded.errors import DirectoryUnusable

SYSTEM_USERS = ("ordino", "nobody")


class Account(NamedTuple):
    """The system user that the server runs as, where that is not the caller."""

    name: str
    uid: int
    gid: int

    @property
    def identity(self) -> dict[str, Any]:
        """The options with which ``subprocess`` runs something as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def refuse_out_of_reach(self, directory: Path) -> None:
        """Raises ``DirectoryUnusable`` if this user may not enter the directory."""
        test = subprocess.run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(directory)], check=False, **self.identity)
        if test.returncode != 0:
            raise DirectoryUnusable(
                f"As root, PostgreSQL runs as the user {self.name}, who may not enter {directory}. "
                "Choose a directory that every user may enter with ORDINO_DATA_DIRECTORY, such as /var/lib/ordino."
            )


def account_for(cluster: Path) -> Account | None:
    """Who owns the cluster, or who shall own a new one; None if that is the caller, who is not root."""
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (uid := cluster.stat().st_uid) != 0:
        return Account(_user_name(uid), uid, cluster.stat().st_gid)
    wanted = SYSTEM_USERS[0]
    if not _user_exists(wanted) and shutil.which("useradd"):
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        command = ["useradd", *options, "--shell", "/bin/false", wanted]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in SYSTEM_USERS:
        if _user_exists(name):
            user = pwd.getpwnam(name)
            return Account(name, user.pw_uid, user.pw_gid)
    raise DirectoryUnusable(
        "PostgreSQL does not run as root, and no user for it could be made. "
        f"Add a system user named {wanted}, run Ordino as an ordinary user, or set ORDINO_DATABASE_URL."
    )


def _user_exists(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_uid != 0
    except KeyError:
        return False


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
