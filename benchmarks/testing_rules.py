"""The rules of a suite in the words of the peers, so that all judge by the same: Great Expectations, and SQL for DuckDB.

pandera's schema comes from the suite itself (`Suite.to_pandera`)."""
import numpy as np


def words(values):
    return ", ".join("'" + v.replace("'", "''") + "'" if isinstance(v, str) else repr(v) for v in values)


def column_sql(name, r):
    "Conditions that a row breaks, one for each rule of a column."
    c = f'"{name}"'
    x = f"epoch({c})" if r.type == "time" else c
    if r.required:
        yield f"{c} IS NULL"
    if r.min is not None:
        yield f"{x} < {r.min!r}"
    if r.max is not None:
        yield f"{x} > {r.max!r}"
    if r.step:
        yield f"abs({c} / {r.step!r} - round({c} / {r.step!r})) > 1e-4"
    if r.values is not None:
        yield f"{c} NOT IN ({words(r.values)})"
    if r.shapes is not None:
        pattern = "|".join("".join({"A": "[A-Z]+", "a": "[a-z]+", "9": "[0-9]+"}.get(ch, ch) for ch in s)
                           for s in r.shapes)
        yield f"NOT regexp_full_match({c}, '{pattern}')"


def relation_sql(r):
    a, b = (f'"{c}"' for c in r.columns)
    if r.rule == "dependent required":
        yield f"{a} IS NOT NULL AND {b} IS NULL"
    elif r.rule == "same hour":
        yield f"((hour({a}) - {b} + 24) % 24) NOT IN ({words(r.offsets)})"
    else:
        yield f"{a} > {b}"
        if r.within is not None:
            yield f"{b} > {a} + {r.within!r}"


def condition_sql(i, c, kinds):
    "A table of cases, the join, and what a row of a case breaks."
    number = kinds[c.column] == "number"
    rows = []
    for key, content in c.cases.items():
        given = key.split(" | ") if len(c.given) == 2 else [key]
        keys = [v if kinds[g] == "number" else words([v]) for g, v in zip(c.given, given, strict=True)]
        low, high = (content if number and content else (None, None)) if number else (content or [None])[0:1] * 2
        rows.append("(" + ", ".join([*keys,
                                     *("NULL" if v is None else words([v]) if isinstance(v, str) else repr(v)
                                       for v in (low, high))]) + ")")
    names = ", ".join([*(f"g{j}" for j in range(len(c.given))), "low", "high"])
    on = " AND ".join(f't."{g}" = c{i}.g{j}' for j, g in enumerate(c.given))
    x = f't."{c.column}"'
    broken = f"c{i}.low IS NOT NULL AND ({x} < c{i}.low OR {x} > c{i}.high)"
    if any(not v for v in c.cases.values()):
        broken += f" OR (c{i}.g0 IS NOT NULL AND c{i}.low IS NULL AND {x} IS NOT NULL)"
    if c.required:
        broken += f" OR (c{i}.low IS NOT NULL AND {x} IS NULL)"
    table = f"CREATE TEMP TABLE cases{i} AS SELECT * FROM (VALUES {', '.join(rows)}) AS v({names})"
    return table, f"LEFT JOIN cases{i} AS c{i} ON {on}", broken


def queries(suite, path):
    """Tables to make beforehand; a query that counts the rows which break each rule; and one that counts
    the rows which break any."""
    kinds = {c: r.type for c, r in suite.columns.items()}
    rules = [f"({s})" for name, r in suite.columns.items() for s in column_sql(name, r)]
    rules += [f"({s})" for r in suite.relations for s in relation_sql(r)]
    cases = [condition_sql(i, c, kinds) for i, c in enumerate(suite.conditions)]
    rules += [f"({broken})" for _, _, broken in cases]
    source = f"FROM read_parquet('{path}') AS t\n" + "\n".join(join for _, join, _ in cases)
    counts = ",\n".join(f"count(*) FILTER (WHERE {r})" for r in rules)
    return [table for table, _, _ in cases], f"SELECT {counts}\n{source}", f"SELECT count(*) {source}\nWHERE " + "\nOR ".join(rules)


def expectations(gx, suite, frame):
    """The rules as Great Expectations; relations and conditions become columns of the frame that say
    whether they hold."""
    from mlsys.testing.values import off_step
    e, made = gx.expectations, []
    for name, r in suite.columns.items():
        if r.required:
            made.append(e.ExpectColumnValuesToNotBeNull(column=name))
        if (r.min is not None or r.max is not None) and r.type == "number":
            made.append(e.ExpectColumnValuesToBeBetween(column=name, min_value=r.min, max_value=r.max))
        if r.min is not None and r.type == "time":
            frame["_" + name] = frame[name].astype("int64") / 1e6
            made.append(e.ExpectColumnValuesToBeBetween(column="_" + name, min_value=r.min))
        if r.values is not None:
            made.append(e.ExpectColumnValuesToBeInSet(column=name, value_set=r.values))
        if r.step:
            frame[f"_{name}_step"] = ~off_step(frame[name].to_numpy(float, na_value=np.nan), r.step)
            made.append(e.ExpectColumnValuesToBeInSet(column=f"_{name}_step", value_set=[True]))
        if r.shapes is not None:
            pattern = "^(" + "|".join("".join({"A": "[A-Z]+", "a": "[a-z]+", "9": "[0-9]+"}.get(ch, ch) for ch in s) for s in r.shapes) + ")$"
            made.append(e.ExpectColumnValuesToMatchRegex(column=name, regex=pattern))
    rules = [*suite.relations, *suite.conditions]
    holds = {f"_rule{i}": (lambda f, r=r: r.holds(f, suite.kinds)) for i, r in enumerate(rules)}
    made += [e.ExpectColumnValuesToBeInSet(column=name, value_set=[True]) for name in holds]
    return made, holds
