"""The OpenAPI 3.1 document, made from what the routes declare (https://spec.openapis.org/oas/v3.1.1.html)."""

from __future__ import annotations

from collections.abc import Iterable

from ems.core import errors
from ems.core.codec import COMMON, QUOTE_ID_FIELD, Field, jsonable
from server.api.answers import HTTP_STATUS
from server.api.routes import PUBLIC, Call
from server.api.views import SCHEMAS

VERSION = "1"

# Every signed call may answer these.
AUTH_ERRORS = tuple(row.code for row in errors.GROUPS["The signature"])

STATUS_WORDS = {
    200: "Done.",
    202: "Accepted and being worked; follow it with get_query.",
    503: "Not now; see Retry-After.",
}


def document(calls: Iterable[Call]) -> dict[str, object]:
    """Describe the calls."""
    listed = sorted(calls, key=lambda call: call.path)
    paths: dict[str, dict[str, object]] = {}
    for call in listed:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OMS",
            "version": VERSION,
            "description": "Orders and executions over many crypto exchanges. Amounts are decimal strings. "
            "Every request is signed with Ed25519 (RFC 9421), and every write carries an idempotency key.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": noun} for noun in sorted({call.noun for call in listed})],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _security()},
    }


def _operation(call: Call) -> dict[str, object]:
    operation: dict[str, object] = {
        "operationId": call.name,
        "tags": [call.noun],
        "summary": call.summary,
        "description": " ".join(part for part in (call.doc, _role_said(call)) if part),
        "responses": _responses(call),
        "security": []
        if call.role == PUBLIC
        else [{"signature": [], "signatureInput": [], "contentDigest": []}],
        "x-role": call.role,
    }
    if call.verb is not None:
        operation["parameters"] = [_idempotency_key()]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body_schema(call), "example": body_example(call)}},
        }
    elif call.fields:
        operation["parameters"] = [_parameter(wanted) for wanted in call.fields]
    return operation


def _role_said(call: Call) -> str:
    return "Needs no signature." if call.role == PUBLIC else f"Needs a key with the role {call.role}."


def _idempotency_key() -> dict[str, object]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": True,
        "description": "New for every intention, the same for every repeat: nothing is done twice.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": "^[!-~]([ -~]{0,253}[!-~])?$",
        },
        "example": "0193a5b2-7c1e-7d7a-9a53-3f2f6b1f0c11",
    }


def _parameter(wanted: Field) -> dict[str, object]:
    parameter: dict[str, object] = {
        "name": wanted.name,
        "in": "query",
        "required": wanted.required,
        "description": said(wanted),
        "schema": _with_default(wanted, dict(wanted.kind.schema)),
    }
    if wanted.example is not None:
        parameter["example"] = jsonable(wanted.example)
    return parameter


def _with_default(wanted: Field, schema: dict[str, object]) -> dict[str, object]:
    if not wanted.required and wanted.default is not None:
        schema["default"] = jsonable(wanted.default)
    return schema


def body_schema(call: Call) -> dict[str, object]:
    """Describe the body of a write."""
    fields = (*call.fields, *COMMON)
    properties: dict[str, object] = {}
    for wanted in fields:
        schema = dict(wanted.kind.schema)
        if not wanted.required:
            schema = {"anyOf": [schema, {"type": "null"}]}  # null counts as absent
        properties[wanted.name] = {**_with_default(wanted, schema), "description": said(wanted)}
    required = [wanted.name for wanted in fields if wanted.required]
    body: dict[str, object] = {"type": "object", "additionalProperties": False, "properties": properties}
    if call.verb is not None and call.verb.by_quote:
        body["anyOf"] = [{"required": required}, {"required": [QUOTE_ID_FIELD.name]}]
    else:
        body["required"] = required
    return body


def body_example(call: Call) -> dict[str, object]:
    """Return a body that this call accepts."""
    return {w.name: jsonable(w.example) for w in (*call.fields, *COMMON) if w.example is not None}


def said(wanted: Field) -> str:
    """Describe a field in words, with its unit and form."""
    unit = f" In {wanted.unit}." if wanted.unit else ""
    return f"{wanted.doc}{unit} Form: {wanted.kind.form}."


def error_codes(call: Call) -> list[str]:
    """List every code this call may answer with, once, in the order of the table."""
    every = {*call.errors, errors.REQUEST_MALFORMED, errors.REQUEST_TOO_LARGE, errors.INTERNAL_ERROR}
    if call.role == PUBLIC:
        return []
    return [code for code in errors.CODES if code in every or code in AUTH_ERRORS]


def _responses(call: Call) -> dict[str, object]:
    responses: dict[str, object] = {}
    for status in call.statuses:
        media: dict[str, object] = {"schema": _answer_schema(call)}
        if call.example is not None and status != 503:
            media["example"] = _answer_example(call)
        responses[str(status)] = {"description": STATUS_WORDS[status], "content": {call.media: media}}
    by_status: dict[int, list[str]] = {}
    for code in error_codes(call):
        by_status.setdefault(HTTP_STATUS[code], []).append(code)
        if code == errors.REQUEST_MALFORMED and call.verb is not None:
            by_status.setdefault(415, []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = {
            "description": ", ".join(codes),
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Refusal"},
                    "example": _error_example(codes[0]),
                }
            },
        }
    return responses


def _answer_schema(call: Call) -> dict[str, object]:
    if call.media == "image/png":
        return {}  # bytes; OpenAPI 3.1 describes them by the media type alone
    reference: dict[str, object] = {"$ref": f"#/components/schemas/{call.answer}"}
    if call.role == PUBLIC:
        return (
            reference if call.answer else {"type": "string" if call.media != "application/json" else "object"}
        )
    return {
        "type": "object",
        "required": ["status", "mode", "request_id", "data"],
        "properties": {**_ENVELOPE, "status": {"const": "ok"}, "data": reference},
    }


def _answer_example(call: Call) -> object:
    if call.role == PUBLIC:
        return call.example
    return {"status": "ok", "mode": "paper", "request_id": "9f86d081884c7d65", "data": call.example}


def _error_example(code: str) -> dict[str, object]:
    row = errors.CODES[code]
    return {
        "status": "error",
        "mode": "paper",
        "request_id": "9f86d081884c7d65",
        "error": {
            "code": code,
            "message": row.meaning,
            "hint": row.hint,
            "retry_safe": row.retry_safe,
            "details": {},
            "venue_code": None,
            "venue_message": None,
        },
    }


_ENVELOPE: dict[str, object] = {
    "status": {"type": "string", "enum": ["ok", "error"]},
    "mode": {"type": "string", "enum": ["live", "paper"]},
    "request_id": {"type": "string"},
}


def _schemas() -> dict[str, object]:
    refusal = {
        "type": "object",
        "required": ["status", "mode", "request_id", "error"],
        "properties": {
            **_ENVELOPE,
            "status": {"const": "error"},
            "error": {"$ref": "#/components/schemas/Error"},
        },
    }
    return {**SCHEMAS, "Refusal": refusal}


def _security() -> dict[str, object]:
    def header(name: str, doc: str) -> dict[str, object]:
        return {"type": "apiKey", "in": "header", "name": name, "description": doc}

    return {
        "signature": header(
            "Signature", "Ed25519 over the RFC 9421 signature base, as the manual describes."
        ),
        "signatureInput": header("Signature-Input", "What is signed, when, until when, by which key."),
        "contentDigest": header("Content-Digest", "SHA-256 of the body (RFC 9530), of the empty body too."),
    }
