"""The page of the report (Jinja). Every number in it comes from the figures that report.json holds."""

PAGE = """\
{%- macro percent(x) -%}{{ "%.1f"|format(100 * x) }}{%- endmacro -%}
{%- macro rate(s) -%}
<b>{{ percent(s.rate) }}</b> <span class="soft">{{ percent(s.low) }}&ndash;{{ percent(s.high) }}</span>
{%- endmacro -%}
{%- macro two(x) -%}{{ "%.2f"|format(x) }}{%- endmacro -%}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { --ink: #1c1d20; --soft: #6a6d75; --line: #dfe0e4; --accent: #b5412b; --paper: #fff; --tint: #f6f6f4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e3; --soft: #9a9ca3; --line: #393b41; --accent: #f08a6c; --paper: #17181b; --tint: #202125; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; padding-top: .8rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 0; font-weight: 600; }
p { max-width: 46rem; margin: .5rem 0; }
.soft, .note, figcaption { color: var(--soft); }
.note { font-size: .9rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .8rem .45rem 0; text-align: left; vertical-align: baseline; }
th, td { border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .85rem; color: var(--soft); border-bottom-color: var(--ink); }
td.n, th.n { text-align: right; padding-right: 1.2rem; white-space: nowrap; }
table.wide .soft { display: block; font-size: .85em; }
tr.key td { background: var(--tint); }
.facts { display: flex; flex-wrap: wrap; gap: 1.2rem 2.6rem; margin: 1.4rem 0; }
.facts div { min-width: 6.5rem; }
.facts b { display: block; font-size: 1.5rem; line-height: 1.25; font-weight: 600; font-variant-numeric: tabular-nums; }
.facts span { color: var(--soft); font-size: .88rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: .8rem 1.4rem; }
.curves { margin: .6rem 0 1.6rem; }
.curve { width: 100%; height: auto; }
.curve text { font-size: 9.5px; fill: var(--soft); }
.curve .title { font-size: 11.5px; fill: var(--ink); font-weight: 600; }
.curve .last { font-size: 11.5px; fill: var(--accent); font-weight: 600; }
.curve .axis { fill: none; stroke: var(--line); }
.curve .line { fill: none; stroke: var(--accent); stroke-width: 1.4; stroke-linejoin: round; }
.case { margin: 1.6rem 0 2.4rem; break-inside: avoid; }
.case h3 { margin-bottom: .5rem; }
.clips { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; height: 96px; background: #000; image-rendering: auto; }
figure audio { display: block; width: 100%; height: 34px; margin: .4rem 0 .3rem; }
figcaption { font-size: .85rem; font-weight: 600; margin-bottom: .25rem; }
dl { margin: 0; font-size: .88rem; line-height: 1.4; }
dt { color: var(--soft); font-size: .76rem; margin-top: .3rem; }
dd { margin: 0; overflow-wrap: anywhere; }
dd.wrong { color: var(--accent); }
code { font: .9em ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="soft">{{ f.clips }} clips of the {{ f.split }} split of <code>{{ f.dataset }}</code>, parameters of stage
<code>{{ f.stage }}</code>, seed {{ f.seed }}. Workdir <code>{{ f.workdir }}</code>.</p>
<div class="facts">
{%- for name, s in f.rows[-1].scores.items() %}
<div><b>{{ percent(s.rate) }} %</b><span>synthesis error, {{ name }}</span></div>
{%- endfor %}
{%- for name, s in f.rows[1].scores.items() %}
<div><b>{{ percent(s.rate) }} %</b><span>its floor, {{ name }}</span></div>
{%- endfor %}
<div><b>{{ two(f.tokens.entropy) }}</b><span>bits a token, of {{ two(f.tokens.entropy_max) }}</span></div>
</div>
</header>

<h2>Error rates</h2>
<p>Per cent of wrong words, with a 95&nbsp;% bootstrap interval over clips. Numbers are compared digit by digit, in one
form for reference and transcript: &ldquo;$19.95&rdquo; and &ldquo;nineteen dollars and ninety five cents&rdquo; are the
same words. Copy synthesis sends a recording's own mel through the vocoder; it is the floor: what a recogniser gets
wrong there is not the models' doing. Reconstruction starts from the recording's own tokens, synthesis from the text
alone.</p>
<table>
<tr><th>what is heard</th>{% for r in f.recognizers %}<th class="n">{{ r }}</th><th class="n">above the floor</th>
{%- endfor %}</tr>
{%- for row in f.rows %}
<tr{% if row.name == "synthesis" %} class="key"{% endif %}><td>{{ row.label }}</td>
{%- for s in row.scores.values() %}<td class="n">{{ rate(s) }}</td>
<td class="n">{% if row.name in judged %}{{ "%+.1f"|format(100 * s.above_floor.difference) }}
<span class="soft">{{ percent(s.above_floor.low) }} to {{ percent(s.above_floor.high) }}</span>
{%- else %}&ndash;{% endif %}</td>{% endfor %}</tr>
{%- endfor %}
<tr><td>true tokens, by the reward model</td>
<td class="n" >{{ rate(f.reward_model) }}</td>
<td colspan="{{ 2 * f.recognizers|length - 1 }}"></td></tr>
</table>
<p class="note">Over {{ f.reward_model.tokens }} reference words. &ldquo;Above the floor&rdquo; is the paired
difference to copy synthesis.
{%- for r, version in f.recognizers.items() %} {{ r }}: <code>{{ version }}</code>{{ "." if loop.last else "," }}
{%- endfor %}</p>
{%- if f.kinds %}
<table>
<tr><th>kind</th><th class="n">clips</th>{% for row in f.rows %}<th class="n">{{ row.name }}</th>{% endfor %}</tr>
{%- for kind in f.kinds %}
<tr><td>{{ kind.kind }}</td><td class="n">{{ kind.clips }}</td>
{%- for row in f.rows %}<td class="n">{% for x in kind.rates[row.name].values() %}{{ percent(x) }}
{%- if not loop.last %} <span class="soft">/</span> {% endif %}{% endfor %}</td>{% endfor %}</tr>
{%- endfor %}
</table>
<p class="note">Per cent, {{ f.recognizers|join(" / ") }}. A few clips each: read the differences with care.</p>
{%- endif %}
{%- if f.stages %}

<h2>Stages</h2>
<table class="wide">
<tr><th rowspan="2">stage</th>
{%- for c in judged %}<th class="n" colspan="{{ f.recognizers|length }}">{{ c }}</th>{% endfor %}
<th class="n" rowspan="2">reward model</th><th class="n" rowspan="2">bits a token</th>
<th class="n" rowspan="2">codes</th></tr>
<tr>{% for c in judged %}{% for r in f.recognizers %}<th class="n">{{ r }}</th>{% endfor %}{% endfor %}</tr>
{%- for s in f.stages %}
<tr><td>{{ s.name }}</td>
{%- for c in judged %}{% for r in f.recognizers %}<td class="n">{{ rate(s[c][r]) }}</td>{% endfor %}{% endfor %}
<td class="n">{{ rate(s.reward_model) }}</td><td class="n">{{ two(s.tokens.entropy) }}</td>
<td class="n">{{ s.tokens.distinct }}</td></tr>
{%- endfor %}
</table>
{%- endif %}

<h2>Tokens</h2>
<div class="facts">
<div><b>{{ f.tokens.distinct }}</b><span>codes in use, of {{ f.tokens.codes }}</span></div>
<div><b>{{ "%.0f"|format(f.tokens.perplexity) }}</b><span>perplexity</span></div>
<div><b>{{ two(f.tokens.entropy) }}</b><span>H(X), bits</span></div>
<div><b>{{ two(f.tokens.mutual) }}</b><span>I(X&#8345;&#8330;&#8321;; X&#8345;), bits</span></div>
<div><b>{{ two(f.tokens.mutual_shuffled) }}</b><span>the same, tokens shuffled</span></div>
</div>
<p class="note">{{ f.tokens.tokens }} tokens of {{ f.tokens.clips }} {{ f.tokens.split }} clips; at most
{{ two(f.tokens.entropy_max) }} bits a token. Entropies are plug-in estimates (with the Miller-Madow correction:
H {{ two(f.tokens.entropy_mm) }}, I {{ two(f.tokens.mutual_mm) }}). A plug-in I is biased upwards, strongly so while
there are fewer pairs of tokens than pairs of codes. Shuffled tokens know nothing of each other: what they show is
bias.</p>

<h2>Losses</h2>
{%- if not curves %}
<p class="note">No metrics.jsonl in the workdir.</p>
{%- endif %}
{%- for stage, panels in curves.items() %}
<h3>{{ stage }}</h3>
<div class="curves">{% for svg in panels %}{{ svg|safe }}{% endfor %}</div>
{%- endfor %}
{%- for heading, why, cases in groups %}

<h2>{{ heading }}</h2>
<p class="note">{{ why }}</p>
{%- for case in cases %}
<section class="case">
<h3>{{ case.text }}{% if case.kind %} <span class="soft">&middot; {{ case.kind }}</span>{% endif %}
<span class="soft">&middot; {{ case.key }}</span></h3>
<div class="clips">
{%- for clip in case.clips %}
<figure>
<figcaption>{{ clip.name }}</figcaption>
<img alt="log-mel of the {{ clip.name }}" src="{{ clip.mel }}">
<audio controls preload="none" src="{{ clip.audio }}"></audio>
<dl>{% for r, h in clip.heard.items() %}<dt>{{ r }}</dt>
<dd{% if h.errors %} class="wrong"{% endif %}>{{ h.text or "(nothing)" }}</dd>{% endfor %}
{%- if clip.name == "recording" %}<dt>reward model</dt><dd>{{ case.reward_model or "(nothing)" }}</dd>{% endif %}</dl>
</figure>
{%- endfor %}
</div>
</section>
{%- endfor %}
{%- endfor %}
</body>
</html>
"""
