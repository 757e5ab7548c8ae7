// Tables: a click on a column's head sorts, words in the field above leave the rows that hold all of them.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      return Number.isNaN(Number(x)) || Number.isNaN(Number(y)) ? x.localeCompare(y) : x - y;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (down ? -order(a, b) : order(a, b))));
  }));
}
for (const box of document.querySelectorAll(".filterable")) {
  const [field, told, rows] = [box.querySelector("input"), box.querySelector("output"), [...box.querySelector("tbody").rows]];
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    told.textContent = words.length ? `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")}` : rows.length.toLocaleString("en");
  });
}
// What is pointed at says more, in one box that follows it.
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);
const say = (text, x, y) => {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${Math.max(Math.min(x - width / 2, document.documentElement.clientWidth - width - 8), 8)}px`;
  tip.style.top = `${y > height + 20 ? y - height - 12 : y + 18}px`;
};
document.addEventListener("pointerover", (event) => {
  const told = event.target.closest("[data-tip]");
  if (!told) return say("");
  const box = told.getBoundingClientRect();
  say(told.dataset.tip, box.left + box.width / 2, box.top);
});
document.addEventListener("scroll", () => say(""), { passive: true });
// A map of many cells says which one is pointed at, or walked to with the arrow keys.
for (const heat of document.querySelectorAll(".heat")) {
  const [svg, cursor, told] = [heat.querySelector("svg"), heat.querySelector(".cursor"), heat.querySelector("output")];
  const [names, images] = [heat.dataset.names.split("\n"), heat.dataset.images.split(" ").map(Number)];
  const counts = new Map(heat.dataset.cells.split(" ").filter(Boolean).map((cell) => {
    const [row, column, count] = cell.split(",").map(Number);
    return [row * names.length + column, count];
  }));
  let [row, column] = [0, 0];
  const show = () => {
    const count = counts.get(row * names.length + column) ?? 0;
    const what = row === column ? "is right" : `called ${names[column]}`;
    told.textContent = `${names[row]} ${what}: ${count} of ${images[row]}` + (images[row] ? ` (${Math.round((100 * count) / images[row])}%)` : "");
    cursor.setAttribute("d", `M${column} ${row}h1v1h-1zM0 ${row + 0.5}H${column}M${column + 0.5} 0V${row}`);
  };
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    const place = (value, size) => Math.max(0, Math.min(names.length - 1, Math.floor((value / size) * names.length)));
    [row, column] = [place(event.clientY - box.top, box.height), place(event.clientX - box.left, box.width)];
    show();
  };
  svg.addEventListener("pointermove", at);
  svg.addEventListener("pointerdown", at);
  heat.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    [row, column] = [row + step[0], column + step[1]].map((value) => (value + names.length) % names.length);
    show();
  });
}
for (const copy of document.querySelectorAll(".copy")) {
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText((copy.closest("section") ?? document).querySelector("pre").innerText);
    copy.textContent = "copied";
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
