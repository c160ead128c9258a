// The way in with the admin token: it is sent in a header, which the proxy keeps out of its records.

const form = document.getElementById("login");
const why = document.getElementById("why");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  why.textContent = "";
  const token = document.getElementById("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    why.textContent = "That is not the token.";
    return;
  }
  try {
    const reply = await fetch("/console/login", { method: "POST", headers: { "x-admin-token": token } });
    if (reply.ok) location.replace("/console");
    else why.textContent = reply.status === 401 ? "That is not the token." : `The proxy answered with ${reply.status}.`;
  } catch {
    why.textContent = "The proxy does not answer.";
  }
});
