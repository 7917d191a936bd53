# Installs twocan for everybody (as root: make install) or for you alone (make install PREFIX="$HOME/.local").
# `make` builds, `make install` copies what was built, `make uninstall` takes it away again, `make deb` makes a package.
PREFIX ?= /usr/local
DESTDIR ?=
CARGO_TARGET_DIR ?= target
release = $(CARGO_TARGET_DIR)/release
programs = twocan twocand twocan-gui
sizes = 48 128 256 512
bin = $(DESTDIR)$(PREFIX)/bin
share = $(DESTDIR)$(PREFIX)/share
icons = $(share)/icons/hicolor

.PHONY: all install uninstall deb icons refresh

all:
	cargo build --release --locked -p twocan-node -p twocan-cli -p twocan-gui --bins

install:
	@for program in $(programs); do test -x $(release)/$$program || { echo "run 'make' first: $(release)/$$program is missing" >&2; exit 1; }; done
	install -d $(bin) $(share)/applications $(share)/metainfo $(share)/systemd/user $(share)/man/man1 $(icons)/scalable/apps
	install -d $(share)/bash-completion/completions $(share)/zsh/site-functions $(share)/fish/vendor_completions.d
	install -m 755 $(addprefix $(release)/,$(programs)) $(bin)
	install -m 644 packaging/twocan-gui.desktop $(share)/applications/twocan-gui.desktop
	install -m 644 packaging/twocan.metainfo.xml $(share)/metainfo/org.example.twocan.metainfo.xml
	sed 's|^ExecStart=.*|ExecStart=$(abspath $(PREFIX))/bin/twocand|' packaging/twocan.service > $(share)/systemd/user/twocan.service
	chmod 644 $(share)/systemd/user/twocan.service
	install -m 644 $(wildcard packaging/man/*.1) $(share)/man/man1
	install -m 644 gui/assets/twocan.svg $(icons)/scalable/apps/twocan.svg
	for size in $(sizes); do install -D -m 644 packaging/icons/$$size.png $(icons)/$${size}x$$size/apps/twocan.png || exit 1; done
	$(release)/twocan completions bash > $(share)/bash-completion/completions/twocan
	$(release)/twocan completions zsh > $(share)/zsh/site-functions/_twocan
	$(release)/twocan completions fish > $(share)/fish/vendor_completions.d/twocan.fish
	@$(MAKE) --no-print-directory refresh

uninstall:
	rm -f $(addprefix $(bin)/,$(programs))
	rm -f $(share)/applications/twocan-gui.desktop $(share)/metainfo/org.example.twocan.metainfo.xml
	rm -f $(share)/systemd/user/twocan.service $(share)/man/man1/twocan.1 $(share)/man/man1/twocand.1 $(share)/man/man1/twocan-gui.1
	rm -f $(icons)/scalable/apps/twocan.svg $(foreach size,$(sizes),$(icons)/$(size)x$(size)/apps/twocan.png)
	rm -f $(share)/bash-completion/completions/twocan $(share)/zsh/site-functions/_twocan $(share)/fish/vendor_completions.d/twocan.fish
	@$(MAKE) --no-print-directory refresh

# Tells the desktop what there is now; a package does this by its triggers.
refresh:
	@if [ -z "$(DESTDIR)" ]; then \
	  if command -v update-desktop-database >/dev/null; then update-desktop-database -q $(share)/applications || true; fi; \
	  if command -v gtk-update-icon-cache >/dev/null; then gtk-update-icon-cache -q -t $(icons) || true; fi; \
	fi

deb: all
	@command -v cargo-deb >/dev/null || { echo "cargo install cargo-deb --locked" >&2; exit 1; }
	cargo deb --no-build -p twocan-cli

# The icons in fixed sizes, from the drawing (librsvg2-bin); they are kept in the repository.
icons:
	for size in $(sizes); do rsvg-convert -w $$size -h $$size gui/assets/twocan.svg -o packaging/icons/$$size.png || exit 1; done
