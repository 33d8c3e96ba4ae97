"use strict";
(() => {
  const AT_ONCE = 200; // rows that are made at a time: 10,000 at once take a browser 18 s
  const $ = (id) => document.getElementById(id);
  const table = $("sessions"), body = table.tBodies[0];
  const { columns, labels, rows } = JSON.parse($("rows").textContent);
  const heads = [...table.tHead.rows[0].cells];
  const headOf = new Map(heads.map((head) => [head.dataset.name, head]));
  const column = new Map(columns.map((name, n) => [name, n]));
  const asked = ["words", "state", "step", "rig", "since", "until"].map($);
  const TERM = /^([\w.]+)(<=|>=|!=|=|<|>)(-?[\d.]+(?:e-?\d+)?)$/i;
  const TESTS = {
    "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
    "=": (a, b) => a === b, "!=": (a, b) => a !== b,
  };
  let order = rows, fitting = rows, shown = 0, revealed = "", texts = null;

  function element(name, words, attributes = {}) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...[words].flat());
    return made;
  }

  function numberOf(row, n) {
    const [name, value, said] = [columns[n], ...(row.numbers[n] ?? [null, ""])];
    const words = ["number", headOf.get(name).classList.contains("more") ? "more" : "",
      name === revealed ? "shown" : "", name === "lost" && value ? "lost" : ""];
    const cell = element("td", said, { class: words.filter(Boolean).join(" "), "data-label": labels[n] });
    if (value !== null) cell.dataset.value = value;
    return cell;
  }

  function made(row) {
    const here = `sessions/${row.id}.html`;
    const image = row.picture ? element("img", "", { loading: "lazy", alt: "", src: `previews/${row.id}.png` }) : "";
    const results = row.results.map(([value, unit, name]) =>
      element("span", [element("b", value), `${unit && ` ${unit}`} ${name}`], { class: "result" }));
    return element("tr", [
      element("td", element("a", image, { href: here, tabindex: "-1", "aria-hidden": "true" }), { class: "picture" }),
      element("td", [row.began.slice(0, 10), element("small", row.began.slice(11, 16))],
        { class: "began", "data-value": row.began }),
      element("td", [element("a", row.name, { href: here }), element("small", element("bdi", row.said))],
        { class: "name" }),
      element("td", element("span", row.state, { class: `state ${row.state}` }), { "data-value": row.state }),
      element("td", results, { class: "results" }),
      ...columns.map((_, n) => numberOf(row, n)),
    ], { "data-steps": row.steps, "data-rig": row.rig, "data-words": row.words });
  }

  function more() {
    body.append(...fitting.slice(shown, shown + AT_ONCE).map(made));
    shown = Math.min(shown + AT_ONCE, fitting.length);
    $("more").hidden = shown === fitting.length;
  }

  function textOf(row) {
    const said = [...row.results.flat(), ...row.numbers.map((number) => number?.[1] ?? "")].join(" ");
    return `${row.name} ${row.said} ${row.began} ${row.state} ${said} ${row.words} ${row.steps}`.toLowerCase();
  }

  function term(word) {
    const found = TERM.exec(word);
    if (found && column.has(found[1])) {
      const n = column.get(found[1]), test = TESTS[found[2]], wanted = Number(found[3]);
      return (row) => row.numbers[n] !== null && test(row.numbers[n][0], wanted);
    }
    texts ??= new Map(rows.map((row) => [row, textOf(row)]));
    return (row) => texts.get(row).includes(word.toLowerCase());
  }

  function show() {
    const [words, state, step, rig, since, until] = asked.map((input) => input.value);
    const tests = words.trim().split(/\s+/).filter(Boolean).map(term);
    fitting = order.filter((row) => {
      const day = row.began.slice(0, 10);
      return (!state || row.state === state) && (!rig || row.rig === rig)
        && (!step || row.steps.split(" ").includes(step)) && (!since || day >= since)
        && (!until || (day && day <= until)) && tests.every((test) => test(row));
    });
    const [count, all] = [fitting.length, rows.length];
    $("count").textContent = count === all ? `${count} sessions` : `${count} of ${all} sessions`;
    $("none").hidden = count > 0;
    body.replaceChildren();
    shown = 0;
    more();
  }

  function sort(name) {
    const head = headOf.get(name), n = column.get(name), number = n !== undefined;
    const down = head.ariaSort === null ? number || name === "began" : head.ariaSort === "ascending";
    heads.forEach((other) => {
      other.ariaSort = null;
      other.classList.toggle("shown", other === head && head.classList.contains("more"));
    });
    revealed = head.classList.contains("more") ? name : "";
    head.ariaSort = down ? "descending" : "ascending";
    const key = (row) => number ? row.numbers[n]?.[0] ?? null : row[name].toLowerCase() || null;
    const keyed = order.map((row) => [key(row), row]);
    keyed.sort(([a], [b]) => a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -1 : 1) * (down ? -1 : 1));
    order = keyed.map(([, row]) => row);
    show();
  }

  asked.forEach((input) => { input.oninput = show; });
  heads.forEach((head) => { if (head.dataset.name) head.firstChild.onclick = () => sort(head.dataset.name); });
  $("gallery").onclick = () => { $("gallery").ariaPressed = String(table.classList.toggle("cards")); };
  $("sorting").onchange = () => { sort($("sorting").value || "began"); };
  $("more").onclick = more;
  new IntersectionObserver(([seen]) => { if (seen.isIntersecting) more(); }, { rootMargin: "800px" }).observe($("more"));
  headOf.get("began").ariaSort = "descending";
  show();
})();
