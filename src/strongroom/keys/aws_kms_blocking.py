"""The connector for a start and for commands, before there is an event loop: the service asks for itself, once.

It makes and opens the store key where the key service keeps it. Signing, transports and the checks of an answer are
those of the connector that serves requests; there is no retry and no breaker, for whoever starts can wait and try again.
"""

import http.client
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from strongroom.keys import kms_messages as messages
from strongroom.keys import unix_socket
from strongroom.keys.kms_endpoint import KmsEndpoint, TlsTransport, UnixTransport
from strongroom.keys.provider import DataKey, EncryptionContext, KeyServiceMisbehaved, KeyServiceUnavailable

T = TypeVar("T")

_TIMEOUT = 10.0  # seconds, of each wait for the network


def generate_data_key(endpoint: KmsEndpoint, key_id: str, context: EncryptionContext) -> DataKey:
    """As `KeyProvider.generate_data_key`, in the service's own name."""
    body = messages.question(context, KeyId=key_id, KeySpec="AES_256")
    return _call(endpoint, "GenerateDataKey", body, lambda answer: messages.generated_key(answer, key_id))


def decrypt(endpoint: KmsEndpoint, key_arn: str, ciphertext_blob: bytes, context: EncryptionContext) -> DataKey:
    """As `KeyProvider.decrypt`, in the service's own name."""
    body = messages.question(context, KeyId=key_arn, CiphertextBlob=ciphertext_blob)
    return _call(endpoint, "Decrypt", body, lambda answer: messages.decrypted_key(answer, key_arn, ciphertext_blob))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, transport: UnixTransport) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._transport = transport

    def connect(self) -> None:
        try:
            self.sock = unix_socket.connect(self._transport.path, peer_uid=self._transport.peer_uid, timeout=_TIMEOUT)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise KeyServiceUnavailable(
                "it is not running; `strongroom serve` starts it, or `strongroom kms` alone"
            ) from error


def _connection(endpoint: KmsEndpoint) -> http.client.HTTPConnection:
    match endpoint.transport:
        case UnixTransport() as transport:
            return _UnixConnection(transport)
        case TlsTransport(host=host, port=port, tls=tls):
            return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=tls)


def _call(endpoint: KmsEndpoint, operation: str, body: bytes, understand: Callable[[bytes], T]) -> T:
    headers = endpoint.headers(operation, body, endpoint.credentials.load(), None)
    try:
        with closing(_connection(endpoint)) as connection:
            connection.request("POST", "/", body, dict(headers))
            response = connection.getresponse()
            answer = response.read(messages.LONGEST_ANSWER + 1)
            if len(answer) <= messages.LONGEST_ANSWER and response.length:  # a bounded read ends early without a word
                raise http.client.IncompleteRead(b"", response.length)
    except (OSError, http.client.HTTPException) as error:
        raise KeyServiceUnavailable(f"no answer of the key service: {type(error).__name__}") from error
    if len(answer) > messages.LONGEST_ANSWER:
        raise KeyServiceMisbehaved("an answer of the key service is longer than any of KMS's")
    if response.status == 200:
        return understand(answer)
    raise messages.error_of(response.status, answer)[0]
