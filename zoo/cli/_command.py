"""How a command shows its arguments and options, and the words for a value of the wrong type."""

from typing import Any

from typer import BadParameter
from typer.core import TyperCommand, TyperGroup

# By the types of Pydantic's errors.
_WANTED = {"int_parsing": "a whole number", "int_from_float": "a whole number", "float_parsing": "a number"}


class WrongValue(BadParameter):
    """A value that cannot be read; its message is the whole sentence."""

    def format_message(self) -> str:
        return self.message


class Command(TyperCommand):
    """A command whose help names values instead of Python's types, and whose errors say what was expected."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except BadParameter as error:
            # Pydantic has found what is wrong, but says it in its own words.
            details: dict[str, Any] = getattr(error.__cause__, "errors", lambda: [{}])()[0]
            if error.param is None or details.get("type") not in _WANTED:
                raise
            name, value = option_name(error.param), details["input"]
            message = f"Expected {name} to be {_WANTED[details['type']]}. Received: {name} {value}"
            raise WrongValue(message, ctx=ctx, param=error.param) from None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        # Typer writes a required argument as {NAME}.
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments, options = [], []
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is None:
                continue
            name, text = record
            if parameter.param_type_name == "argument":
                arguments.append((name.partition(" <")[0], text.replace("[required]", "").rstrip()))
            else:
                options.append(record)
        for title, records in (("Arguments", arguments), ("Options", options)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Group(TyperGroup):
    """Commands in the order in which they were added; Typer has groups of commands first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: isinstance(self.commands[name], TyperGroup))


def option_name(parameter: Any) -> str:
    """The long name of an option, or the name of an argument as the help shows it."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name)
    return str(max(parameter.opts, key=len))
