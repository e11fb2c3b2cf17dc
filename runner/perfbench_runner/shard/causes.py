"""Why a connection failed or ended, in words that show the way out where there is one."""

import errno
import socket
import ssl

_NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NO_VALID_TIME = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def cause(error: Exception, peer: str = "server") -> str:
    """What went wrong with a connection to a peer."""
    if isinstance(error, ssl.SSLError):
        return _tls_cause(error)
    if isinstance(error, UnicodeError):
        return "this is no host name"
    if isinstance(error, socket.gaierror):
        return f"unknown host: {error.strerror}"
    if isinstance(error, OSError):
        known = _KNOWN.get(error.errno or 0)
        return known.format(peer=peer) if known else str(error.strerror or error)
    return str(error)


_KNOWN = {
    errno.ECONNREFUSED: "connection refused; does the {peer} run, and is the port right?",
    errno.ENOENT: "there is no such socket; does the {peer} run?",
    errno.EACCES: "permission denied",
    errno.EMFILE: "too many open files here; raise the limit (ulimit -n)",
    errno.EADDRNOTAVAIL: "no ephemeral port is left here; widen net.ipv4.ip_local_port_range",
}


def _tls_cause(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; {_certificate_advice(error.verify_code)}"
    reason = error.reason or str(error)
    if reason in _NO_TLS:
        return f"TLS failed: {reason}; is it http instead of https?"
    if "CERTIFICATE_REQUIRED" in reason:
        return "the server wants a client certificate; give target.tls.certFile (--cert-file)"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return f"the server does not accept our certificate: {reason}; see target.tls.certFile"
    return f"TLS failed: {reason}"


def _certificate_advice(code: int) -> str:
    if code in _NAME_MISMATCH:
        return "it is for another name than the one in target.url"
    if code in _NO_VALID_TIME:
        return "renew it, or set this machine's clock"
    return "give target.tls.ca (--ca-file)"
