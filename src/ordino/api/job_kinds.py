"""Every kind of job. Each is declared by the stage whose verb it calls, in a module that is imported here and has to be imported by
nobody else: whoever imports this one knows all kinds.
"""

from __future__ import annotations

from collections.abc import Mapping

import ordino.core.dead_letters
import ordino.orders.jobs
import ordino.warehouse.jobs  # noqa: F401 - kinds of jobs are known once they are imported
from ordino.core.jobs import JobKind
from ordino.core.reactions import registry

JOB_KINDS: Mapping[str, JobKind] = registry.jobs
"""By name."""
