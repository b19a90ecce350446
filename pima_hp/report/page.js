// Shows the numbers of the epoch below the pointer beside it.
const told = document.getElementById("told");
document.addEventListener("pointermove", ({ target, clientX, clientY }) => {
  const mark = target.closest?.(".hover_marks [aria-label]");
  told.hidden = !mark;
  if (!mark) return;
  told.textContent = mark.getAttribute("aria-label").replaceAll("; ", "\n");
  const left = clientX + 16 + told.offsetWidth > innerWidth ? clientX - 16 - told.offsetWidth : clientX + 16;
  told.style.left = `${Math.max(0, left)}px`;
  told.style.top = `${Math.max(0, clientY - told.offsetHeight / 2)}px`;
});
