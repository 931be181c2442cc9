"""KMS's errors: one exception, the statuses of its codes.

AWS answers 400 to every error that is the client's doing and 500 to its own faults (JSON 1.1). Modelled errors carry
`message`, those of the layer in front `Message`; some carry no text at all, and that is what `message` None says.
"""

from collections.abc import Mapping

FAULTS: Mapping[str, int] = {
    "DependencyTimeoutException": 503,
    "KMSInternalException": 500,
    "KeyUnavailableException": 500,
    "ServiceUnavailableException": 503,
}

# Not in the model: raised in front of the service, where texts have a capital M.
IN_FRONT = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "RequestEntityTooLargeException",
        "RequestTimeoutException",
        "SerializationException",
        "UnrecognizedClientException",
    }
)


class KmsError(Exception):
    """An answer that the client gets as an error. `message` None: AWS sends none. `reason`: for the operator's log only,
    what the client is not told; neither ever holds a secret.
    """

    def __init__(self, code: str, message: str | None = None, *, reason: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.reason = reason
        self.status = FAULTS.get(code, 400)

    def __str__(self) -> str:
        return self.code if self.message is None else f"{self.code}: {self.message}"
