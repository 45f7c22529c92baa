/* The API's description at /docs, shown by Swagger UI. */

const description = await (await fetch("openapi.json")).json();
document.title = description.info.title;
const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.classList.toggle("dark-mode", isDark);
new MutationObserver(nameButtons).observe(document.body, { childList: true, subtree: true });
SwaggerUIBundle({
  spec: { ...description, paths: belowThisPage(description.paths) },
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null,
});

/* The paths as this page's origin has them: a proxy may have put all of them below one. */
function belowThisPage(paths) {
  const folder = new URL(".", document.baseURI).pathname.replace(/\/$/, "");
  return Object.fromEntries(Object.entries(paths).map(([path, item]) => [folder + path, item]));
}

/* Swagger UI's buttons to copy are pictures without a name. */
function nameButtons() {
  for (const button of document.querySelectorAll(".copy-to-clipboard button:not([aria-label])")) {
    button.setAttribute("aria-label", "Copy");
  }
}
