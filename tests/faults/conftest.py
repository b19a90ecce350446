"""The sweep that the tests of faults interrupt, made once without a fault."""

import pytest

from tests.faults.kills import Uninterrupted


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    return Uninterrupted.in_folder(tmp_path_factory.mktemp("uninterrupted") / "folder")
