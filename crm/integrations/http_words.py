"""Why no answer came, in words for an administrator: the library's texts carry whole addresses."""

from __future__ import annotations

_WORDS = {
    "SSLError": "сертификат сервера не принят",
    "ConnectTimeout": "сервер не отвечает",
    "ReadTimeout": "сервер молчит",
    "ConnectionError": "соединиться не удалось",
    "gaierror": "такого имени нет в сети",
    "UnicodeError": "имя сервера написано неправильно",
    "ChunkedEncodingError": "ответ оборван",
    "ContentDecodingError": "ответ сжат неправильно",
    "IncompleteRead": "ответ оборван",
    "ProtocolError": "ответ оборван",
    "DecodeError": "ответ сжат неправильно",
}
# What headers are written in: other letters come from a mistyped key.
_HEADERS = "latin-1"
_FOREIGN = "в ключе или логине есть русские буквы или знаки, скопируйте их из кабинета заново"


def reason(error: BaseException) -> str:
    """The cause of a failed request; the kind of the error when there are no words for it."""
    if isinstance(error, UnicodeEncodeError) and error.encoding == _HEADERS:
        return _FOREIGN
    kinds = (kind.__name__ for kind in type(error).__mro__)
    return next((_WORDS[kind] for kind in kinds if kind in _WORDS), type(error).__name__)
