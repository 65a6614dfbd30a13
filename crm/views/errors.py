"""Error answers: a page for people, JSON for programs, never a trace or SQL."""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus

from flask import Flask, Response, jsonify, make_response, render_template, request
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from crm.models import db
from crm.operations.errors import OperationError, ValidationErrors

log = logging.getLogger(__name__)


def wants_json() -> bool:
    """Whether the caller is a program: an API address or an explicit wish."""
    return (
        request.path.startswith("/api/")
        or request.is_json
        or request.accept_mimetypes.best_match(["text/html", "application/json"])
        == "application/json"
    )


def error_body(error: OperationError) -> dict[str, object]:
    """JSON of a refusal: a message for the person and errors by field."""
    body: dict[str, object] = {"message": error.message}
    if isinstance(error, ValidationErrors):
        body["errors"] = [{"field": e.field, "message": e.message} for e in error.errors]
    return body


def register_error_pages(app: Flask) -> None:
    """Our own answers for everything that goes wrong: the outer rim of the web."""
    app.register_error_handler(OperationError, _operation_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _crash)


def _operation_error(error: OperationError) -> Response:
    if wants_json():
        return make_response(jsonify(error_body(error)), error.status)
    return _page(error.status, error.message)


def _csrf_error(_error: CSRFError) -> Response:
    message = _("Страница устарела. Обновите её и повторите действие: введённое не отправлено.")
    if wants_json():
        return make_response(jsonify({"message": message}), 400)
    return _page(400, message)


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    if error.response is not None or code < HTTPStatus.BAD_REQUEST:
        return error.get_response()  # type: ignore[return-value]
    message = _MESSAGES.get(code, lambda: "")()
    response = (
        make_response(jsonify({"message": message or error.name}), code)
        if wants_json()
        else _page(code, message)
    )
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers.setdefault(name, value)
    return response


def _crash(error: Exception) -> Response:
    number = uuid.uuid4().hex[:8]
    log.error("request failed, number %s", number, exc_info=error)
    db.session.rollback()
    message = _("Ошибка на нашей стороне, номер %(number)s. Повторите через минуту.", number=number)
    if wants_json():
        return make_response(jsonify({"message": message}), 500)
    return _page(500, message)


def _page(code: int, message: str) -> Response:
    template = f"errors/{code}.html" if code in {403, 404, 429, 500} else "errors/error.html"
    return make_response(render_template(template, code=code, message=message), code)


_MESSAGES = {
    400: lambda: _("Запрос не удалось понять."),
    401: lambda: _("Войдите, чтобы продолжить."),
    403: lambda: _("У вас нет доступа к этой странице или действию."),
    404: lambda: _("Такой страницы нет, или она вам недоступна."),
    405: lambda: _("Это действие так не вызывается."),
    413: lambda: _("Файл или запрос слишком большой."),
    415: lambda: _("Такой формат данных не принимается."),
    429: lambda: _("Слишком много попыток. Подождите немного."),
}
