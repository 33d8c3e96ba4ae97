"""A dock of what inputs said: the latest lines, each with its time."""

from __future__ import annotations

from PySide6.QtWidgets import QPlainTextEdit

from .model import Model
from .panels import Panel
from .timeline import spelled_time

LINES = 200
MAX_LETTERS = 200  # of a line


class LinesPanel(QPlainTextEdit):
    """The newest texts of a table (frame, input, text), the latest at the bottom; what is new is followed."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__(readOnly=True, placeholderText="no text has come yet")
        self.paused = False
        self._panel, self._model, self._revision = panel, model, -1
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)

    def turn_to(self, panel: Panel) -> None:
        """Show the texts of another plane from now on."""
        self._panel, self._revision = panel, -1

    def refresh(self) -> None:
        """Show what is new."""
        rows = self._model.tables[self._panel.id]
        if self.paused or rows.revision == self._revision:
            return
        self._revision = rows.revision
        columns = [rows.columns[name][-LINES:].tolist() for name in ("frame", "input", "text")] if len(rows) else []
        several = len(set(columns[1])) > 1 if columns else False
        interval_s = self._model.interval_s
        self.setPlainText(
            "\n".join(
                f"{spelled_time(int(frame), interval_s)}  {f'{name}: ' if several else ''}{text}"[:MAX_LETTERS]
                for frame, name, text in zip(*columns, strict=True)
            )
        )
        self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())
