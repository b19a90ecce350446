// Shows the numbers of the epoch below the pointer in a tooltip.
const tooltip = document.getElementById("tooltip");
document.addEventListener("pointermove", ({ target, clientX, clientY }) => {
  const mark = target.closest?.(".hover_marks [aria-label]");
  tooltip.hidden = !mark;
  if (!mark) return;
  tooltip.textContent = mark.getAttribute("aria-label").replaceAll("; ", "\n");
  const left = clientX + 16 + tooltip.offsetWidth > innerWidth ? clientX - 16 - tooltip.offsetWidth : clientX + 16;
  tooltip.style.left = `${Math.max(0, left)}px`;
  tooltip.style.top = `${Math.max(0, clientY - tooltip.offsetHeight / 2)}px`;
});
