const text = document.getElementById('words'), left = document.getElementById('left');
const boxes = [...document.querySelectorAll('.filter input[type=checkbox]')];
const claims = [...document.querySelectorAll('main details.claim')];
const studies = [...document.querySelectorAll('section.study')];
function apply() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = new Set(boxes.filter(b => b.checked).map(b => b.value));
  let shown = 0;
  for (const claim of claims) {
    const all = (claim.dataset.study + ' ' + claim.textContent).toLowerCase();
    claim.hidden = !wanted.has(claim.dataset.verdict) || !words.every(w => all.includes(w));
    shown += !claim.hidden;
  }
  for (const study of studies)
    study.hidden = study.querySelector('details.claim') !== null
      && study.querySelector('details.claim:not([hidden])') === null;
  left.textContent = shown + ' of ' + claims.length + ' claims';
}
text.addEventListener('input', apply);
boxes.forEach(b => b.addEventListener('change', apply));
document.getElementById('filter').hidden = false;
apply();
