// Turns each still picture into one that answers the pointer, when it comes near the window.
const specs = JSON.parse(document.getElementById("specs").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, tooltip: { theme: dark ? "dark" : "light" } };

function fitted(spec, room) {
  const width = Math.max(...spec.concat.map((panel) => panel.width));
  if (room > 520) return spec;
  const labels = Math.max(0, ...spec.concat.map((panel) => (panel.height > 60 && panel.layer.some((layer) => layer.mark.type === "text") ? 96 : 0)));
  const narrow = Math.max(150, Math.min(320, room - (labels || 62)));
  return { ...spec, columns: 1, concat: spec.concat.map((panel) => ({ ...panel, width: Math.max(narrow, Math.min(width, narrow)) })) };
}

async function draw(place) {
  const live = document.createElement("div");
  live.className = "live";
  try {
    await vegaEmbed(live, fitted(specs[place.dataset.chart], place.clientWidth), options);
    place.replaceChildren(live);
    place.dataset.drawn = "yes";
  } catch (error) {
    console.error(error); // the still picture stays
  }
}

const near = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    near.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "600px" });
document.querySelectorAll("[data-chart]").forEach((place) => near.observe(place));
