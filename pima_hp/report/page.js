// Turns each still picture into one that answers the pointer, when it comes near the window.
const specs = JSON.parse(document.getElementById("specs").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, tooltip: { theme: dark ? "dark" : "light" } };

// As many panels side by side as there is room for, without a hole, as wide as they may be.
function fitted(spec, room) {
  const { aside, gap, columns } = spec.usermeta;
  const size = spec.concat.length;
  let n = Math.max(1, Math.min(columns, Math.floor((room + gap) / (150 + aside + gap))));
  while (size <= 8 && size % n) n -= 1;
  const width = Math.min(440, Math.floor((room + gap) / n) - gap - aside - 8);
  return { ...spec, columns: n, concat: spec.concat.map((panel) => ({ ...panel, width: Math.max(120, width) })) };
}

async function draw(place) {
  const live = document.createElement("div");
  live.className = "live";
  place.append(live);
  try {
    await vegaEmbed(live, fitted(specs[place.dataset.chart], place.clientWidth), options);
    place.dataset.drawn = "yes"; // hides the still picture, but on paper
  } catch (error) {
    console.error(error);
    live.remove();
  }
}

const near = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    near.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "600px" });
document.querySelectorAll("[data-chart]").forEach((place) => near.observe(place));
