"""`perfbench explain`: what a field of the manifest means."""

import click


@click.command(short_help="Print what a field of the manifest means.")
@click.argument("field", required=False, default="spec")
def explain(field: str) -> None:
    """Print type, unit, default and meaning of a FIELD such as spec.load.stages.rate, and of what is in it."""
    from perfbench_api.explain import explain as text

    click.echo(text(field))
