"""What the sections of the settings have in common: strict, frozen, secrets by value or by file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from service.errors import SettingsError
from service.runtime.logs import hide

MIN_SECRET: Final = 32
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=-1, le=65_535)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def secret(self, name: str) -> str | None:
        """The secret `name`, or the stripped content of the file that `name_file` points to.

        Raises
        ------
        SettingsError
            The file cannot be read, or is empty.
        """
        value: SecretStr | None = getattr(self, name)
        path: Path | None = getattr(self, f"{name}_file")
        if path is None:
            return None if value is None else hide(value.get_secret_value())
        try:
            content = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise SettingsError(f"{name}_file: cannot read {path}: {why}") from None
        if not content:
            raise SettingsError(f"{name}_file: {path} is empty")
        return hide(content)

    @model_validator(mode="after")
    def _secret_given_once(self) -> Self:
        for name in type(self).model_fields:
            twin = f"{name}_file"
            if twin in type(self).model_fields and getattr(self, name) is not None and getattr(self, twin):
                raise ValueError(f"give {name} or {twin}, not both")
        return self
