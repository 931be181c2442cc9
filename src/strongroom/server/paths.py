"""Where things lie below the data directory, and how a start says that it can't be."""

from dataclasses import dataclass
from pathlib import Path

from strongroom.identity.files import IdentityFiles

INDEX_FILE = "index.db"


class StartError(Exception):
    """The server can't start; the text is for the person who starts it."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie below the data directory. `home`: the one whose users and key service count, where that is another
    (the proof's store has none of its own).
    """

    data_dir: Path
    home: Path | None = None

    @property
    def s3(self) -> Path:
        return self.data_dir / "s3"

    @property
    def keys(self) -> Path:
        return self.s3 / "keys"

    @property
    def index(self) -> Path:
        return self.s3 / INDEX_FILE

    @property
    def blobs(self) -> Path:
        return self.s3 / "blobs"

    @property
    def run(self) -> Path:
        return (self.home or self.data_dir) / "run"

    @property
    def kms_socket(self) -> Path:
        return self.run / "kms.sock"

    @property
    def kms_admin_socket(self) -> Path:
        return self.run / "kms-admin.sock"

    @property
    def kms(self) -> Path:
        return self.data_dir / "kms"

    @property
    def audit(self) -> Path:
        return self.data_dir / "audit"

    @property
    def identity(self) -> IdentityFiles:
        return IdentityFiles((self.home or self.data_dir) / "identity")
