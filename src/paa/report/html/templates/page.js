// Text on images keeps its size on the screen: --unit is how many of the image's pixels one of the screen's is.
const fit = (svg) => {
  const view = svg.viewBox.baseVal;
  const shown = Math.min(svg.clientWidth / view.width, svg.clientHeight / view.height);
  if (shown > 0) svg.style.setProperty("--unit", 1 / shown);
};
const observer = new ResizeObserver((entries) => entries.forEach((entry) => fit(entry.target)));
document.querySelectorAll(".pair svg").forEach((svg) => observer.observe(svg));

// Enlarge a pair of images; both show the same part, which the wheel, the buttons and dragging change.
const dialog = document.querySelector("dialog");
const stage = dialog.querySelector(".stage");
let whole = null, view = null;
const show = () => {
  for (const svg of stage.children) {
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    fit(svg);
  }
};
const zoom = (factor, x = view.x + view.width / 2, y = view.y + view.height / 2) => {
  const scale = Math.min(40, Math.max(1, (whole.width / view.width) * factor));
  const width = whole.width / scale, height = whole.height / scale;
  view = { x: x - ((x - view.x) * width) / view.width, y: y - ((y - view.y) * height) / view.height, width, height };
  show();
};
const enlarge = (figure) => {
  const pair = [...figure.querySelectorAll(".pair svg")];
  stage.replaceChildren(...pair.map((svg) => svg.cloneNode(true)));
  const image = figure.querySelector("image");
  stage.querySelectorAll("image").forEach((copy) => copy.removeAttribute("id"));
  whole = { x: 0, y: 0, width: image.width.baseVal.value, height: image.height.baseVal.value };
  view = { ...whole };
  dialog.querySelector(".file").textContent = figure.querySelector(".file").textContent;
  dialog.showModal();
  for (const svg of stage.children) {
    observer.observe(svg);
    let last = null;
    const point = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      const at = point(event);
      zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, at.x, at.y);
    }, { passive: false });
    svg.addEventListener("pointerdown", (event) => {
      last = point(event);
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      if (!last) return;
      const at = point(event);
      view.x += last.x - at.x;
      view.y += last.y - at.y;
      show();
    });
    for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { last = null; });
  }
  show();
};
for (const figure of document.querySelectorAll(".photo")) {
  figure.querySelector(".pair").addEventListener("click", () => enlarge(figure));
  figure.querySelector(".enlarge").addEventListener("click", () => enlarge(figure));
}
for (const button of dialog.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => {
    const factor = parseFloat(button.dataset.zoom);
    if (factor) zoom(factor);
    else { view = { ...whole }; show(); }
  });
}
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => stage.replaceChildren());
