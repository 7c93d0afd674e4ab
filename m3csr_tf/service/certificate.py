"""The certificate and key of HTTPS, which every process of the service reads anew when it starts."""

from __future__ import annotations

import ssl

from m3csr_tf.config import ServiceConfig
from m3csr_tf.errors import ConfigError


def check_certificate(service: ServiceConfig) -> None:
    """Refuses a certificate and key that cannot be used.

    Raises:
      ConfigError: a file cannot be read, is not PEM, or the key is encrypted or that of another certificate.
    """
    if service.tls_certificate is None or service.tls_key is None:
        return
    files = f"service.tls_certificate={service.tls_certificate} service.tls_key={service.tls_key}"
    try:
        # The empty password keeps OpenSSL from asking for one on a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(service.tls_certificate, service.tls_key, "")
    except ssl.SSLError as error:
        raise ConfigError(
            f"{files}: cannot be used ({error.reason or error}); expected PEM files of a certificate and its key, the "
            "key without a password"
        ) from None
    except OSError as error:
        raise ConfigError(f"{files}: cannot be read ({error.strerror or error})") from None
