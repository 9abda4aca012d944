"""The look of reports. All colours are mixed from that of the text around, so that they are right
on any ground, light or dark, without asking which it is."""

from __future__ import annotations

from reposync.display.html import Html

# "&" stands for what keeps the rules to our own elements, and before the host's rules for tables.
_RULES = """
& { font-size: 13px; line-height: 1.5; max-width: 72rem; overflow-wrap: break-word;
  font-variant-numeric: tabular-nums; text-align: left; --good: #2f9e5f; --warn: #c08519;
  --bad: #dc4a3d; --busy: #3d86cc }
& p { margin: 0 0 .4em; max-width: none }
& .head .note { margin-left: .5em; color: color-mix(in srgb, currentColor 76%, transparent) }
& .head { font-size: 14px }
& strong, & b, & th { font-weight: 600 }
& code { font-family: var(--jp-code-font-family, ui-monospace, Menlo, Consolas, monospace);
  font-size: .93em; background: none; color: inherit; padding: 0; border: 0; white-space: inherit }
& .sign { display: inline-block; width: 1em; font-weight: 700; text-align: center }
& .good { color: color-mix(in srgb, var(--good) 85%, currentColor) }
& .warn { color: color-mix(in srgb, var(--warn) 85%, currentColor) }
& .bad { color: color-mix(in srgb, var(--bad) 85%, currentColor) }
& .busy { color: color-mix(in srgb, var(--busy) 85%, currentColor) }
& dl { margin: 0 0 .6em; padding: 0; border: 0 }
& dl > div { display: flex; flex-wrap: wrap; gap: 0 1em; margin: .1em 0 }
& dt { flex: 0 0 9em; margin: 0; padding: 0; float: none; font-weight: 400 }
& dd { flex: 1 1 20em; margin: 0; padding: 0; min-width: 0; overflow-wrap: anywhere }
& dt, & .more, & summary, & th { color: color-mix(in srgb, currentColor 76%, transparent) }
& details { margin: .2em 0 .5em }
& summary { cursor: pointer }
& details > :not(summary) { margin-left: 1.1em }
& .inner { border-left: 2px solid color-mix(in srgb, currentColor 18%, transparent);
  padding-left: .9em; margin-top: .4em; margin-bottom: .6em }
& .wide { overflow-x: auto; margin-top: .2em; margin-bottom: .4em }
& table { border-collapse: collapse; border: 0; margin: 0; font-size: 1em; table-layout: auto }
& tr, & tbody tr:nth-child(n), & tbody tr:nth-child(n):hover { background: none }
& thead { border: 0 }
& th, & td { text-align: left; vertical-align: top; padding: .2em 1em .2em 0; border: 0;
  border-bottom: 1px solid color-mix(in srgb, currentColor 14%, transparent);
  background: none; white-space: normal; min-width: 3.5em; max-width: 34em }
& .number { text-align: right }
& th, & .short, & .number { white-space: nowrap }
& time { white-space: nowrap }
& svg { display: block; height: 8px; max-width: 32rem; margin: .4em 0 .3em }
& .legend span { white-space: nowrap; margin-right: 1.1em }
& .legend i { display: inline-block; width: .7em; height: .7em; margin-right: .4em }
& .part0 { fill: #3d86cc; background: #3d86cc }
& .part1 { fill: #8b74c9; background: #8b74c9 }
& .part2 { fill: #c08519; background: #c08519 }
& .part3 { fill: #2f9e5f; background: #2f9e5f }
& .part4 { fill: #8a8f98; background: #8a8f98 }
& .rest { fill: currentColor; fill-opacity: .14 }
& .hit { margin: .7em 0 }
& pre { font-family: var(--jp-code-font-family, ui-monospace, Menlo, Consolas, monospace);
  font-size: 12px; line-height: 1.45; margin: .2em 0 0; padding: .5em .8em; overflow-x: auto;
  white-space: pre; color: inherit; border: 0; border-radius: 3px;
  background: color-mix(in srgb, currentColor 5%, transparent) }
& pre [class^="c-k"], & pre .c-ow { color: color-mix(in srgb, #3d86cc 62%, currentColor) }
& pre [class^="c-s"] { color: color-mix(in srgb, #2f9e5f 65%, currentColor) }
& pre [class^="c-c"] { color: color-mix(in srgb, currentColor 76%, transparent);
  font-style: italic }
& pre [class^="c-m"] { color: color-mix(in srgb, #c08519 65%, currentColor) }
& pre .c-nf, & pre .c-nc, & pre .c-gh { font-weight: 600 }
"""


def style() -> Html:
    """The style, for one output: a notebook may be cut up, and each output stands by itself."""
    rules = " ".join(_RULES.split()).replace("&", ".reposync.reposync")
    return Html(f"<style>{rules}</style>")
