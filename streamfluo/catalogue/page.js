"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const table = $("sessions"), body = table.tBodies[0], rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const column = new Map(heads.map((head, n) => [head.dataset.name, n]).filter(([name]) => name));
  const asked = ["words", "state", "step", "rig", "since", "until"].map($);
  const valueOf = (row, n) => row.cells[n].dataset.value ?? row.cells[n].textContent;
  const TERM = /^([\w.]+)(<=|>=|!=|=|<|>)(-?[\d.]+(?:e-?\d+)?)$/i;
  const TESTS = {
    "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
    "=": (a, b) => a === b, "!=": (a, b) => a !== b,
  };
  let revealed = -1;
  const texts = rows.map((row) => `${row.textContent} ${row.dataset.words} ${row.dataset.steps}`.toLowerCase());

  function term(word) {
    const found = TERM.exec(word);
    if (found && column.has(found[1])) {
      const n = column.get(found[1]), test = TESTS[found[2]], wanted = Number(found[3]);
      return (row) => row.cells[n].dataset.value !== undefined && test(Number(row.cells[n].dataset.value), wanted);
    }
    return (row, text) => text.includes(word.toLowerCase());
  }

  function show() {
    const [words, state, step, rig, since, until] = asked.map((input) => input.value);
    const tests = words.trim().split(/\s+/).filter(Boolean).map(term);
    const began = column.get("began"), stateAt = column.get("state");
    let count = 0;
    rows.forEach((row, n) => {
      const day = valueOf(row, began).slice(0, 10);
      const fits = (!state || valueOf(row, stateAt) === state) && (!rig || row.dataset.rig === rig)
        && (!step || row.dataset.steps.split(" ").includes(step)) && (!since || day >= since)
        && (!until || (day && day <= until)) && tests.every((test) => test(row, texts[n]));
      row.hidden = !fits;
      count += fits;
    });
    $("count").textContent = count === rows.length ? `${count} sessions` : `${count} of ${rows.length} sessions`;
    $("none").hidden = count > 0;
  }

  function reveal(n) {
    const wanted = heads[n].classList.contains("more") ? n : -1;
    if (wanted === revealed) return;
    for (const row of [table.tHead.rows[0], ...rows]) {
      if (revealed > 0) row.cells[revealed].classList.remove("shown");
      if (wanted > 0) row.cells[wanted].classList.add("shown");
    }
    revealed = wanted;
  }

  function sort(head) {
    const n = heads.indexOf(head), number = head.classList.contains("number") || head.dataset.name === "began";
    const down = head.ariaSort === null ? number : head.ariaSort === "ascending";
    heads.forEach((other) => { other.ariaSort = null; });
    reveal(n);
    head.ariaSort = down ? "descending" : "ascending";
    const key = (row) => {
      const value = valueOf(row, n);
      return value === "" ? null : head.classList.contains("number") ? Number(value) : value.toLowerCase();
    };
    const keyed = [...body.rows].map((row) => [key(row), row]);
    keyed.sort(([a], [b]) => a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -1 : 1) * (down ? -1 : 1));
    body.append(...keyed.map(([, row]) => row));
  }

  asked.forEach((input) => { input.oninput = show; });
  heads.forEach((head) => { if (head.dataset.name) head.firstChild.onclick = () => sort(head); });
  $("gallery").onclick = () => { $("gallery").ariaPressed = String(table.classList.toggle("cards")); };
  $("sorting").onchange = () => {
    sort(heads[column.get($("sorting").value || "began")]);
  };
  heads[column.get("began")].ariaSort = "descending";
  show();
})();
