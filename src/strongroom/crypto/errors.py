"""What opening a sealed value can say: it is what was sealed, or one of these.

All three are opaque to clients. Their texts are for the operator's log and for `verify`; they never hold key or
plaintext bytes. Callers that must tell a wrong customer key (403) from damage (500) catch `KeyMismatch` first.
"""


class IntegrityError(Exception):
    """Stored bytes are damaged, swapped or forged: they are not what was sealed under this key for this place."""


class KeyMismatch(IntegrityError):
    """The key commitment does not match: this is not the key (or the context) the message was sealed with."""


class UnknownFormat(IntegrityError):
    """A stored sealed value begins with a format byte that this version does not know; the text names the byte."""
