
"use strict";
(() => {
  const announcement = document.getElementById("announcement");

  const keyOf = (row, place) => {
    const cell = row.cells[place];
    if (cell.dataset.key !== undefined) return Number(cell.dataset.key);
    const text = cell.textContent.trim();
    return text === "" || text === "–" ? null : text;
  };

  const compare = (one, other) => {
    if (typeof one === "number" && typeof other === "number") return one - other;
    return String(one).localeCompare(String(other), "en", { numeric: true });
  };

  const sort = (table, heading, title) => {
    const place = heading.cellIndex;
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row, place) }));
    rows.sort((one, other) => {
      if (one.key === null || other.key === null) return (one.key === null) - (other.key === null);
      return descending ? compare(other.key, one.key) : compare(one.key, other.key);
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    table.tBodies[0].append(...rows.map(({ row }) => row));
    announcement.textContent = `Sorted by ${title}, ${descending ? "descending" : "ascending"}.`;
  };

  for (const table of document.querySelectorAll("table")) {
    if (table.tBodies[0].rows.length < 2) continue;
    for (const heading of table.tHead.rows[0].cells) {
      const title = heading.textContent;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      button.addEventListener("click", () => sort(table, heading, title));
      heading.replaceChildren(button);
    }
  }

  const themes = ["system", "light", "dark"];
  const theme = document.getElementById("theme");
  let chosen = 0;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    if (chosen === 0) document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = themes[chosen];
    theme.textContent = `Theme: ${themes[chosen]}`;
  });
})();
