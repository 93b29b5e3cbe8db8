"""``lexforge bert attention``: a picture of what each word looks at."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lexforge._display import shown
from lexforge.cli.bert._models import Device, Ids, Model, load, parse_ids
from lexforge.cli.plot._picture import Picture, check_picture


def attention(
    model: Model,
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False)],
    out: Picture,
    pair: Annotated[str | None, typer.Option(help="A second text.")] = None,
    layer: Annotated[int, typer.Option(help="0 is the first, -1 the last.")] = -1,
    head: Annotated[
        list[int] | None, typer.Option("--head", help="Only this head (may be repeated).")
    ] = None,
    ids: Ids = False,
    device: Device = "auto",
) -> None:
    """Draw how much each token takes from each other one, for the heads of a layer.

    A row of a map is a token that looks, a column one that is looked at; rows sum to 1.
    The picture needs matplotlib.

    Examples:

    - `lexforge bert attention model/ "a crane is flying" --out maps.png`
    - `lexforge bert attention model/ "a crane driver came" --pair "he just left" --out maps.png`
    """
    check_picture(out)

    from lexforge.models.bert.attention_maps import attention_maps, plot_attention

    bert, tokenizer = load(model, device, ids)
    first: Any = parse_ids(text, "TEXT") if ids else text
    second: Any = parse_ids(pair, "--pair") if ids and pair is not None else pair
    maps = attention_maps(bert, tokenizer, first, second)
    plot_attention(maps, path=out, layer=layer, heads=head)
    typer.echo(shown(out))
