"""What is printed, logged or stored holds no password: those in URLs, of databases, remotes and proxies, are hidden."""

from __future__ import annotations

import re

HIDDEN = "***"

# Up to the last @ before the path, since a password may hold one; in the URL of a database it may hold a slash too,
# where what follows the colon is no port.
_PASSWORD = re.compile(r"(://[^\s/?#@:]*):(?:[^\s/?#]*|(?!\d+[/?#])\S*)@")
_ONLY_NAME = re.compile(r"(https?://)[^\s/?#@:]+@")
_OPTION = re.compile(
    r"(?<![\w-])((?:ssl)?password|passwd|pwd|(?:access_|auth_|session_)?token|(?:client_)?secret|api_?key|account_?key"
    r"|(?:aws_)?(?:secret_)?access_?key(?:_id)?|sig(?:nature)?|x-amz-(?:signature|credential|security-token))"
    r"=[^\s&;,'\")]+",
    re.IGNORECASE,
)


def hide_passwords(text: str) -> str:
    """The text with `***` for passwords and tokens in its URLs, and in options such as `password=…`.

    A URL that has only a name before its host loses that too: for a Git server the name is often a token.
    """
    hidden = _PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    return _OPTION.sub(rf"\1={HIDDEN}", _ONLY_NAME.sub(rf"\1{HIDDEN}@", hidden))
