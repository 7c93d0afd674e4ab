"""`m3csr release WORD`: publish a version, list versions, verify one, roll back to one, prune old ones, compare two."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from m3csr_tf.cli.options import ConfigOption, Overrides
from m3csr_tf.cli.run_verb import run_verb
from m3csr_tf.util.quoting import quoted

_DEFAULT = "publish"
_KEPT, _SAMPLE, _COMPARED = 3, 500, 2000


class _PublishesByDefault(TyperGroup):
    """A group of subcommands ("words"): `publish` may be omitted, and a word may follow options.

    An example of the latter is `release --config FILE list`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        place = self._place_of_word(args)
        if place is not None:
            args = [args[place], *args[:place], *args[place + 1 :]]
        elif not {"--help"} & set(args):
            args = [_DEFAULT, *args]
        else:
            args = ["--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args[0] not in self.commands:
            raise typer.BadParameter(f"{quoted(args[0])}: expected {', '.join(self.commands)}, or section.name=value")
        return super().resolve_command(ctx, args)

    def _place_of_word(self, args: list[str]) -> int | None:
        """Returns the place of the first argument if it is a word; None if it is a setting, or there is no argument.

        An option and its value are not arguments.
        """
        valued = {name for one in self.commands.values() for name in _valued_options(one)}
        place = 0
        while place < len(args):
            if not args[place].startswith("-"):
                return None if "=" in args[place] else place
            place += 2 if args[place] in valued else 1
        return None


def _valued_options(command: Any) -> list[str]:
    """Returns the options of a subcommand that are followed by a value."""
    return [name for one in command.params if not getattr(one, "is_flag", True) for name in one.opts]


app = typer.Typer(
    name="release",
    cls=_PublishesByDefault,
    help=(
        "Look after the versions in saved_models/NAME; without a word, `publish`. Every word takes --config and "
        "settings; `release WORD --help` says what else."
    ),
    subcommand_metavar="[publish|list|verify|rollback|prune|compare] [OPTIONS] [SECTION.NAME=VALUE]...",
    add_completion=False,
)


@app.command()
def publish(
    config: ConfigOption = None,
    overrides: Overrides = None,
    again: Annotated[bool, typer.Option("--again", help="Also a run that is the current version already.")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also a run that release.max_loss refuses; the manifest records it.")
    ] = False,
) -> None:
    """Publish the towers and the ScaNN index as one new version, which becomes the current one."""
    run_verb("release", config, overrides, again, anyway, function="publish")


@app.command("list")
def list_versions(config: ConfigOption = None, overrides: Overrides = None) -> None:
    """List all versions, and which one is current."""
    run_verb("release", config, overrides, function="list_versions", without_data=True)


@app.command()
def verify(
    config: ConfigOption = None,
    overrides: Overrides = None,
    version: Annotated[
        int | None, typer.Option(help="Which version; without it, the current one.", show_default=False)
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Items, and as many users, whose vectors are recomputed.")
    ] = _SAMPLE,
) -> None:
    """Verify a version: recompute its checksums, a sample of vectors, and the recall of the live index."""
    run_verb("release", config, overrides, version, sample, function="verify", without_data=True)


@app.command()
def rollback(
    config: ConfigOption = None,
    overrides: Overrides = None,
    version: Annotated[
        int | None, typer.Option(help="Which version; without it, the one before the current one.", show_default=False)
    ] = None,
) -> None:
    """Make an earlier version current again."""
    run_verb("release", config, overrides, version, function="rollback", without_data=True)


@app.command()
def prune(
    config: ConfigOption = None,
    overrides: Overrides = None,
    keep: Annotated[
        int, typer.Option(min=1, help="How many of the latest versions stay; the current one stays in any case.")
    ] = _KEPT,
) -> None:
    """Remove old versions, and what killed attempts to publish have left behind."""
    run_verb("release", config, overrides, keep, function="prune", without_data=True)


@app.command()
def compare(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[A] B [SECTION.NAME=VALUE]...",
            help="From A to B: version numbers, current, or run (the run of the configuration); without A, from the "
            "current version. Then settings that override the file.",
            show_default=False,
        ),
    ],
    config: ConfigOption = None,
    users: Annotated[int, typer.Option(min=2, help="Users that are compared, at most.")] = _COMPARED,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (docs/releases.md).")] = False,
) -> None:
    """Show what changes for the same users from one version to another: lists, scores, intensities, quality."""
    overrides = [word for word in words if "=" in word]
    named = [word for word in words if "=" not in word]
    run_verb("compare_versions", config, overrides, named, users, as_json, without_data=True)
