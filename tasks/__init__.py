"""How one step of the house runs under Prefect: its name, retries, log and artifacts.

Every task takes the whole configuration and the URIs of the artifacts it reads, calls one function
of the core, shows what came of it and returns the URI of the result. Nothing is cached by Prefect:
the artifact store is the cache, so a task that runs again finds its work done.

The core is imported inside the tasks, so a worker that only rebuilds a lexicon never loads torch.
"""

from dskd_core import redaction

redaction.install()
