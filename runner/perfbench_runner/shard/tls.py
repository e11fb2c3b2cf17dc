"""TLS as the manifest asks for it."""

import ssl


def tls_context(
    ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None, insecure: bool = False
) -> ssl.SSLContext:
    """A client's context: servers are verified against the system's authorities or one's own, unless `insecure`."""
    context = ssl.create_default_context(cafile=ca_file)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context
