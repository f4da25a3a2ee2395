"""The settings of the server."""

from __future__ import annotations

import platform
import re

import psutil

from ordino.core.embedded.programs import installed

PORT = 5432  # Only a part of the socket's name.


def configuration() -> dict[str, str]:
    """Durable, without TCP, and sized for a machine that runs Ordino beside it."""
    megabytes = psutil.virtual_memory().total // 4 // 1024**2
    header = installed().parent / "include" / "pg_config.h"
    built = header.read_text() if header.exists() else ""
    lz4 = "#define USE_LZ4 1" in built
    chosen = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": f"{min(max(megabytes, 128), 2048)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        # The other method that every build has, pglz, costs more processor time than it saves in writing.
        "wal_compression": "lz4" if lz4 else "off",
        "jit": "off",
        "random_page_cost": "1.1",
        "effective_io_concurrency": "32",
        # Queue tables turn over many times a minute; the defaults would let them bloat.
        "autovacuum_naptime": "10s",
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
        "autovacuum_vacuum_cost_limit": "2000",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
        # The detail of an error may quote a customer's data.
        "log_error_verbosity": "terse",
    }
    if "#define HAVE_SYNCFS 1" in built and tells_errors_of_syncfs():
        # Recovery after a crash makes the disk keep the files in one call, not one by one: it is over two to three times sooner.
        chosen["recovery_init_sync_method"] = "syncfs"
    if platform.system() == "Darwin":
        # Only this method makes the disk of a Mac empty its own cache.
        chosen["wal_sync_method"] = "fsync_writethrough"
    return chosen


def tells_errors_of_syncfs() -> bool:
    """Linux does since 5.8; before, a failing disk might not be noticed (PostgreSQL's manual, `recovery_init_sync_method`)."""
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    return platform.system() == "Linux" and release is not None and tuple(map(int, release.groups())) >= (5, 8)
