"use strict";
for (const block of document.querySelectorAll(".copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const text = block.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(block.querySelector("pre"));
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.append(button);
}
document.addEventListener("keydown", (event) => {
  const find = document.querySelector("form.find input");
  if (event.key === "/" && find && document.activeElement !== find) {
    event.preventDefault();
    find.focus();
  }
});
