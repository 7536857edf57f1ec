// A slider that smooths the learning curves: a moving average with exponential weights, corrected for its start.
"use strict";
(() => {
  const slider = document.getElementById("smoothing");
  const lines = [...document.querySelectorAll("[data-smooth] .frame polyline")].map((drawn) => ({
    drawn, points: drawn.getAttribute("points").split(" ").map((point) => point.split(",").map(Number)),
  }));
  for (const line of lines) { // the curve as it was measured stays behind the smooth one
    line.measured = line.drawn.cloneNode();
    line.measured.setAttribute("opacity", "0.25");
    line.measured.setAttribute("visibility", "hidden");
    line.drawn.before(line.measured);
  }
  function smooth() {
    const weight = Number(slider.value) / 100;
    document.getElementById("smoothing-value").textContent = weight.toFixed(2);
    for (const { drawn, measured, points } of lines) {
      let sum = 0, share = 0;
      const found = points.map(([x, y]) => {
        [sum, share] = [weight * sum + (1 - weight) * y, weight * share + (1 - weight)];
        return `${x},${(sum / share).toFixed(1)}`;
      });
      drawn.setAttribute("points", found.join(" "));
      measured.setAttribute("visibility", weight ? "visible" : "hidden");
    }
  }
  document.getElementById("smoothing-label").hidden = false;
  slider.addEventListener("input", smooth);
})();
