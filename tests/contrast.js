// Returns every text whose colour stands out from its ground by less than 4.5 to 1.
const channel = (value) => { const part = value / 255; return part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4; };
const light = ([red, green, blue]) => .2126 * channel(red) + .7152 * channel(green) + .0722 * channel(blue);
const numbers = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
const ground = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const colour = numbers(getComputedStyle(each).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const poor = [];
for (const element of document.querySelectorAll("body *")) {
  const words = [...element.childNodes].filter((each) => each.nodeType === Node.TEXT_NODE && each.data.trim());
  if (!words.length || !element.checkVisibility() || element.id === "said") continue;
  const [one, other] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
  const contrast = (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
  if (contrast < 4.5) poor.push(`${element.tagName} ${words[0].data.trim()}: ${contrast.toFixed(2)}`);
}
return poor;
