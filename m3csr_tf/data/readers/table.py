"""Layout "table": interactions and catalogue as two tables, each a single file or a folder of part files."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from m3csr_tf.data.readers.layout import files_of, require_table
from m3csr_tf.data.readers.log import TableLog, table_log
from m3csr_tf.data.readers.log_layout import CATALOGUE, LogLayout
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.util.progress import ProgressCallback

INTERACTIONS = "interactions"


class TableLayout(LogLayout):
    """Reads the tables `interactions` and `catalogue`."""

    in_blocks = True

    def log_files(self) -> list[Path]:
        """See `LogLayout`."""
        log = files_of(require_table(self.folder, INTERACTIONS))
        require_table(self.folder, CATALOGUE)
        return log

    def log(self, on_progress: ProgressCallback | None = None) -> TableLog:
        """See `Layout`."""
        return self._log

    @cached_property
    def catalogue_table(self) -> TableFiles:
        """The table of the items.

        Raises:
          InputError: it is missing, or there are two.
        """
        return TableFiles(require_table(self.folder, CATALOGUE), names=self.config.columns)

    @cached_property
    def _log(self) -> TableLog:
        path = require_table(self.folder, INTERACTIONS)
        return table_log(self.config, path)
