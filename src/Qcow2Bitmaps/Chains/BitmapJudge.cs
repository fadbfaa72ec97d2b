using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Chains;

// Decisions: docs/decisions/chains.md.
/// <summary>The rules by which a bitmap is valid over a chain, by directory entries alone. Called through <see cref="TableJudge"/>, which
/// also reads tables.</summary>
internal static class BitmapJudge
{
    public static BitmapVerdict Judge(IReadOnlyList<ChainLayer> layers, string name, VerdictProfile profile)
    {
        var holders = new Holders(layers, name);
        return profile switch
        {
            VerdictProfile.Libvirt => JudgeAsLibvirt(layers, holders),
            VerdictProfile.Ovirt => JudgeAsOvirt(layers, holders),
            _ => throw new ArgumentOutOfRangeException(nameof(profile), profile, "Unknown profile"),
        };
    }

    /// <summary>The verdict on a bitmap whose directory entries are valid, but whose table is broken in one image.</summary>
    public static BitmapVerdict Unreadable(IReadOnlyList<ChainLayer> layers, string name, ChainLayer layer, string fault) =>
        new Holders(layers, name).Unreadable(layer, fault);

    /// <summary>As libvirt's qemuBlockBitmapChainIsValid: checks down to the end of the chain, whatever was found before.</summary>
    private static BitmapVerdict JudgeAsLibvirt(IReadOnlyList<ChainLayer> layers, Holders holders)
    {
        bool isFound = false;
        ChainLayer? gap = null;
        foreach (ChainLayer layer in layers)
        {
            if (holders.In(layer) is not { } bitmap)
            {
                if (holders.AbsenceFault(layer) is { } doubt)
                {
                    return doubt;
                }

                if (!isFound)
                {
                    return holders.MissingInTop(layers[0]);
                }

                gap ??= layer;
            }
            else if (gap is not null)
            {
                return holders.Gap(gap, layer);
            }
            else if (holders.FlagFault(layer, bitmap) is { } fault)
            {
                return fault;
            }
            else
            {
                isFound = true;
            }
        }

        return holders.Valid(layers);
    }

    /// <summary>The order of oVirt's NBD server: the flags of an image are checked before gaps above it.</summary>
    private static BitmapVerdict JudgeAsOvirt(IReadOnlyList<ChainLayer> layers, Holders holders)
    {
        bool isFound = false;
        ChainLayer? missing = null;
        foreach (ChainLayer layer in layers.TakeWhile(static layer => layer is Qcow2Layer))
        {
            if (holders.In(layer) is not { } bitmap)
            {
                if (holders.AbsenceFault(layer) is { } doubt)
                {
                    return doubt;
                }

                missing ??= layer;
                continue;
            }

            if (holders.FlagFault(layer, bitmap) is { } fault)
            {
                return fault;
            }

            if (missing is not null)
            {
                return holders.Gap(missing, layer);
            }

            isFound = true;
        }

        return isFound ? holders.Valid(layers) : holders.MissingInTop(layers[0]);
    }

    /// <summary>A bitmap's name, the images that hold it, and factories for its verdicts.</summary>
    private sealed class Holders
    {
        private readonly string _name;
        private readonly string _shownName;
        private readonly List<int> _images = [];

        public Holders(IReadOnlyList<ChainLayer> layers, string name)
        {
            _name = name;
            _shownName = $"bitmap '{name}'";
            _images.AddRange(layers.Where(layer => In(layer) is not null).Select(static layer => layer.Index));
        }

        public BitmapInfo? In(ChainLayer layer) =>
            layer is Qcow2Layer { Image: var image } && image.Bitmaps.TryGet(_name, out BitmapInfo? bitmap) ? bitmap : null;

        /// <summary>
        /// The verdict if no fault was found, except perhaps that another process is writing a raw image: no bitmap records those writes.
        /// </summary>
        public BitmapVerdict Valid(IReadOnlyList<ChainLayer> layers) =>
            layers.FirstOrDefault(static layer => layer.IsOpenForWritingElsewhere) is { } open
            ? Invalid(
                InvalidReason.OpenElsewhere, open,
                $"{open} is open for writing in another process, and {_shownName} does not know of what that writes there")
            : new() { Name = _name, ImageIndexes = _images };

        public BitmapVerdict MissingInTop(ChainLayer top) => Invalid(
            InvalidReason.MissingInTop,
            top,
            _images.Count == 0
                ? $"no image of the chain holds {_shownName}{WhyIgnored(top)}{WhyLost(top)}"
                : $"{top} does not hold {_shownName}, though {ShowImages()} below does{WhyIgnored(top)}: "
                    + $"writes to {top} were not recorded");

        public BitmapVerdict Gap(ChainLayer gap, ChainLayer below) => Invalid(
            InvalidReason.Gap,
            gap,
            $"{gap} does not hold {_shownName}, though {below} below does{WhyIgnored(gap)}: writes to {gap} were not recorded");

        /// <summary>Why an image may hold the bitmap although none was found in it; null when it certainly does not.</summary>
        public BitmapVerdict? AbsenceFault(ChainLayer layer)
        {
            if (layer is RawLayer)
            {
                // Raw images never hold bitmaps.
                return null;
            }

            if (layer.IsOpenForWritingElsewhere)
            {
                return Invalid(
                    InvalidReason.OpenElsewhere,
                    layer,
                    $"{layer} is open for writing in another process, which may keep {_shownName} in memory until it closes the image");
            }

            return !layer.RequireImage().Bitmaps.IsComplete
                ? Invalid(
                    InvalidReason.Unreadable,
                    layer,
                    $"the bitmap directory of {layer} is broken, so that {_shownName} may be there or not")
                : null;
        }

        public BitmapVerdict Unreadable(ChainLayer layer, string fault) => Invalid(
            InvalidReason.Unreadable, layer, $"{_shownName} cannot be read in {layer}: {fault}");

        public BitmapVerdict? FlagFault(ChainLayer layer, BitmapInfo bitmap) => bitmap.State switch
        {
            _ when bitmap.Faults.Count > 0 => Unreadable(layer, bitmap.Faults[0].ToString()),
            _ when layer.IsOpenForWritingElsewhere => Invalid(
                InvalidReason.OpenElsewhere,
                layer,
                $"{layer} is open for writing in another process, which keeps {_shownName} in "
                + $"memory{(bitmap.State == BitmapState.Inconsistent ? ": its flag in-use is as it should be" : "")}"),
            BitmapState.Inconsistent => Invalid(
                InvalidReason.Inconsistent,
                layer,
                layer.HasIgnoredBitmaps
                    ? $"{_shownName} is ignored in {layer}: a program without bitmap support wrote to it"
                    : $"{_shownName} was not saved when {layer} was last closed (flag in-use)"),
            BitmapState.Disabled => Invalid(
                InvalidReason.NotRecording,
                layer,
                $"{_shownName} is disabled in {layer} (no flag auto): writes since then were not recorded"),
            _ => null,
        };

        private BitmapVerdict Invalid(InvalidReason reason, ChainLayer layer, PrintableMessage detail) =>
            new() { Name = _name, ImageIndexes = _images, Reason = reason, ImageIndex = layer.Index, Detail = detail };

        /// <summary>Explains why no image holds a bitmap that the caller expects to exist.</summary>
        private static string WhyLost(ChainLayer top) => top is not Qcow2Layer { Image: var image } ? ""
            : image.Bitmaps.Any(static bitmap => bitmap.State == BitmapState.Inconsistent)
                ? $": flags in-use show that {top} was not closed when it was last written, and QEMU keeps a new bitmap in memory until it "
                    + $"closes the image, so that a crash loses it"
                : ": it was removed, or belongs to another disk, or it was only in the memory of a program that did not close the image "
                    + "(QEMU stores a new bitmap when it closes the image)";

        private string ShowImages() => (_images.Count == 1 ? "image " : "each of images ") + string.Join(", ", _images);

        /// <summary>Explains why an image's bitmaps are ignored; empty if they are not.</summary>
        private static string WhyIgnored(ChainLayer layer) =>
            layer.HasIgnoredBitmaps
                ? " (it has bitmaps, which are ignored: a program without bitmap support wrote to it)"
                : "";
    }
}
