"""The bare baseline of a page: plain Flask, the same SQL, a plain Jinja table, no framework.

It sends the statements that our page sent and shows every row and column of their answers inside
a page of our shell's size, but knows no rights, languages, forms or links.
"""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, render_template
from flask.testing import FlaskClient
from jinja2 import DictLoader

PAGE = """<!doctype html><html lang="ru"><head><title>{{ title }}</title></head><body>
{{ shell|safe }}
{% for keys, rows in answers %}<table class="table"><thead><tr>
{% for key in keys %}<th scope="col">{{ key }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr data-row="{{ loop.index }}">
{% for cell in row %}<td class="cell" data-label="{{ keys[loop.index0] }}">
<span class="value">{{ cell if cell is not none else '—' }}</span></td>{% endfor %}
</tr>{% endfor %}</tbody></table>{% endfor %}</body></html>"""


def client(statements: list[tuple[str, Any]], html: str) -> FlaskClient:
    """A client of the bare page that repeats ``statements``; ``html`` is our page."""
    from crm.models import db

    app = Flask("bare")
    app.jinja_loader = DictLoader({"page.html": PAGE})
    engine = db.engine
    reads = [one for one in statements if one[0].lstrip().upper().startswith(("SELECT", "WITH"))]
    shell = _shell(html)

    @app.get("/")
    def page() -> str:
        answers = []
        with engine.connect() as connection:
            for statement, parameters in reads:
                result = connection.exec_driver_sql(statement, parameters)
                answers.append((list(result.keys()), result.fetchall()))
        return render_template("page.html", title="bare", shell=shell, answers=answers)

    return app.test_client()


def _shell(html: str) -> str:
    """Our page up to its content, as a fixed text."""
    found = re.search(r"<body.*?<main", html, re.DOTALL)
    return found.group(0) if found else ""
