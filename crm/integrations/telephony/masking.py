"""Taking secrets out of text that people or logs will see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from crm.integrations.inbound import InboundRequest, MalformedRequest

MASK = "•••"
MAX_SHOWN = 100_000
_HIDDEN_NAME = r"[\w.-]*(?:sign(?:ature)?|secret|token|password|passwd|api[_-]?key|salt|hash)"
_FORM_NAME = re.compile(_HIDDEN_NAME, re.IGNORECASE)
_JSON_MEMBER = re.compile(rf'("{_HIDDEN_NAME}"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE)
_FORM_MEMBER = re.compile(rf"((?:^|[&?]){_HIDDEN_NAME}=)[^&\s]*", re.IGNORECASE)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets, however they are escaped, and values of members named like secrets."""
    forms = {form for secret in secrets if secret for form in _written_forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    text = _JSON_MEMBER.sub(rf'\1"{MASK}"', text)
    return _FORM_MEMBER.sub(rf"\1{MASK}", text)


def readable_body(request: InboundRequest) -> str:
    """Body for a person: form fields one on a line with secret ones masked, else the text."""
    if "form" not in request.content_type:
        return request.body.decode("utf-8", "replace")
    try:
        fields = request.form()
    except MalformedRequest:
        return request.body.decode("utf-8", "replace")
    return "\n".join(
        f"{name}={MASK if _FORM_NAME.fullmatch(name) else value}" for name, value in fields.items()
    )


def _written_forms(secret: str) -> set[str]:
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {secret, quote(secret, safe=""), quote_plus(secret), *in_json}
