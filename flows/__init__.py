"""In which order: task calls and settings, no arithmetic.

Every deployable flow is named ``dskd`` and takes one parameter, the whole configuration, so that
``prefect deployment run dskd/train`` and the UI's form look the same everywhere.
"""

from dskd_core import redaction

# Steps of a deployment run before anything imports a task.
redaction.install()
