"use strict";
// The page works without this: it only hides images that are not asked for.
const filter = document.getElementById("filter");
const count = document.getElementById("count");
if (filter) {
  const shots = [...document.querySelectorAll(".shots > li")];
  filter.hidden = false;
  filter.querySelector("select").addEventListener("change", (event) => {
    const wanted = event.target.value;
    let shown = 0;
    for (const shot of shots) {
      const kinds = shot.dataset.kinds.split(" ");
      const fits = wanted === "" || (wanted === "some" ? kinds[0] !== "none" : kinds.includes(wanted));
      shot.hidden = !fits;
      shown += fits;
    }
    count.textContent = wanted === "" ? "" : `${shown} of ${shots.length}`;
  });
}
