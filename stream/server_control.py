"""The routes that change something: the settings."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from stream.server_errors import refusal
from stream.switch import LIMITS, Busy, SettingError, Switch


def add_control(app: Flask, switch: Switch) -> None:
    @app.get("/api/settings")
    def settings() -> Response:
        return jsonify(
            settings=asdict(switch.settings),
            choices=[asdict(choice) for choice in switch.choices()],
            limits=LIMITS,
        )

    @app.post("/api/settings")
    def change() -> Response:
        try:
            asked = request.get_json()
        except UnsupportedMediaType:
            return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, as Content-Type: application/json")
        except (BadRequest, RecursionError):  # the latter for 60,000 brackets
            return refusal(HTTPStatus.BAD_REQUEST, "that is not JSON")
        if not isinstance(asked, dict):
            return refusal(HTTPStatus.BAD_REQUEST, 'send an object, such as {"threshold": 0.5}')
        try:
            loading = switch.change(asked)
        except SettingError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))
        except Busy as error:
            return refusal(HTTPStatus.CONFLICT, str(error))
        response = jsonify(settings=asdict(switch.settings), switch=asdict(switch.progress))
        response.status_code = HTTPStatus.ACCEPTED if loading else HTTPStatus.OK
        return response
