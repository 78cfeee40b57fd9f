"use strict";
// Sort a table by a column: a click sorts, another turns the order; rows of means stay at the end.
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const number = (cell) => parseFloat(cell.textContent.replace("−", "-"));
    const numeric = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const up = before ? before === "descending" : !numeric;
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => (numeric ? number(row.cells[column]) : row.cells[column].textContent);
    const rows = [...body.rows].filter((row) => !row.classList.contains("mean"));
    rows.sort((a, b) => {
      const x = key(a), y = key(b);
      if (numeric) {
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return up ? x - y : y - x;
      }
      return (up ? 1 : -1) * x.localeCompare(y, undefined, { numeric: true });
    });
    const means = [...body.rows].filter((row) => row.classList.contains("mean"));
    body.append(...rows, ...means);
  });
}
