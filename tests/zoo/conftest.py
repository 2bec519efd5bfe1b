"""What tests of the zoo share."""

import pytest


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write no report.html, whose figures take longer to draw than a small network to train."""
    monkeypatch.setattr("zoo.training.loop.write_report", lambda run, source, model: None)
