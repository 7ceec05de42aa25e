"""The kinds of fields that a scene's files are made of."""

from typing import Annotated, Literal

from pydantic import Field

Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Text = Annotated[str, Field(min_length=1, max_length=600)]
Short = Annotated[str, Field(min_length=1, max_length=160)]
Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Level = Annotated[int, Field(ge=-100, le=100)]
Flag = bool | int | Annotated[str, Field(max_length=80)]
Position = tuple[Number, Number, Number]
Face = Literal["neutral", "happy", "angry", "sad", "relaxed", "surprised"]
