"use strict";
// Before anything is painted: the theme that was chosen here, else the system's.
(() => {
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage can be closed to pages from disk
    }
  };
  const dark = () => document.documentElement.dataset.theme === "dark";
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
  };
  set(stored() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => {
      button.textContent = dark() ? "Light" : "Dark";
      button.setAttribute("aria-label", dark() ? "Change to light colours" : "Change to dark colours");
    };
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      set(dark() ? "light" : "dark");
      try {
        localStorage.setItem("theme", document.documentElement.dataset.theme);
      } catch {
        // as above
      }
      show();
    });
  });
})();
