using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Chains;

/// <summary>The rules by which a bitmap is valid over a chain.</summary>
internal static class BitmapJudge
{
    private const string StartAnew = "take a full backup with a new bitmap, and remove this one from all images";

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

    /// <summary>The verdict on a bitmap that is valid by its directory entries and whose table is broken in an image.</summary>
    public static BitmapVerdict Unreadable(IReadOnlyList<ChainLayer> layers, string name, ChainLayer layer, string fault) =>
        new Holders(layers, name).Unreadable(layer, fault);

    /// <summary>libvirt's qemuBlockBitmapChainIsValid: down to the very end, whatever was found before.</summary>
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

        return holders.Valid();
    }

    /// <summary>The order of oVirt's NBD server: an image's flags first, then what is missing above it.</summary>
    private static BitmapVerdict JudgeAsOvirt(IReadOnlyList<ChainLayer> layers, Holders holders)
    {
        bool isFound = false;
        ChainLayer? missing = null;
        foreach (ChainLayer layer in layers.TakeWhile(static layer => layer.Image is not null))
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

        return isFound ? holders.Valid() : holders.MissingInTop(layers[0]);
    }

    /// <summary>A bitmap's name and the images that hold it, and the verdicts that can be passed on it.</summary>
    private sealed class Holders
    {
        private readonly string _name;
        private readonly string _shownName;
        private readonly List<int> _images = [];

        public Holders(IReadOnlyList<ChainLayer> layers, string name)
        {
            _name = name;
            _shownName = $"bitmap '{PrintableText.Escape(name)}'";
            _images.AddRange(layers.Where(layer => In(layer) is not null).Select(static layer => layer.Index));
        }

        public BitmapInfo? In(ChainLayer layer) =>
            layer.Image is { } image && image.Bitmaps.TryGet(_name, out BitmapInfo? bitmap) ? bitmap : null;

        public BitmapVerdict Valid() => new() { Name = _name, Images = _images };

        public BitmapVerdict MissingInTop(ChainLayer top) => Invalid(
            InvalidReason.MissingInTop,
            top,
            _images.Count == 0
                ? $"no image of the chain holds {_shownName}{WhyIgnored(top)}"
                : $"{Show(top)} does not hold {_shownName}, though {ShowImages()} below does{WhyIgnored(top)}: writes to {Show(top)} were not recorded; {StartAnew}");

        public BitmapVerdict Gap(ChainLayer gap, ChainLayer below) => Invalid(
            InvalidReason.Gap,
            gap,
            $"{Show(gap)} does not hold {_shownName}, though {Show(below)} below does{WhyIgnored(gap)}: writes to {Show(gap)} were not recorded; {StartAnew}");

        /// <summary>What speaks against believing that an image does not hold the bitmap.</summary>
        public BitmapVerdict? AbsenceFault(ChainLayer layer)
        {
            if (layer.Image is null)
            {
                // Raw images never hold bitmaps.
                return null;
            }

            if (layer.IsOpenForWritingElsewhere)
            {
                return Invalid(
                    InvalidReason.OpenElsewhere,
                    layer,
                    $"{Show(layer)} is open for writing in another process, which may keep {_shownName} in memory until it closes the image; ask that process, or look again when it has closed the image");
            }

            return !layer.Image.Bitmaps.IsComplete
                ? Invalid(
                    InvalidReason.Unreadable,
                    layer,
                    $"the bitmap directory of {Show(layer)} is broken, so that {_shownName} may be there or not; {StartAnew}")
                : null;
        }

        public BitmapVerdict Unreadable(ChainLayer layer, string fault) => Invalid(
            InvalidReason.Unreadable, layer, $"{_shownName} cannot be read in {Show(layer)}: {fault}; {StartAnew}");

        public BitmapVerdict? FlagFault(ChainLayer layer, BitmapInfo bitmap) => bitmap.State switch
        {
            _ when bitmap.Faults.Count > 0 => Unreadable(layer, bitmap.Faults[0].ToString()),
            BitmapState.Inconsistent when layer.IsOpenForWritingElsewhere => Invalid(
                InvalidReason.OpenElsewhere,
                layer,
                $"{Show(layer)} is open for writing in another process, which keeps {_shownName} in memory: its flag in-use is as it should be; ask that process, or look again when it has closed the image"),
            BitmapState.Inconsistent => Invalid(
                InvalidReason.Inconsistent,
                layer,
                $"{_shownName} was not saved when {Show(layer)} was last closed (flag in-use): it can only be removed; {StartAnew}"),
            BitmapState.Disabled => Invalid(
                InvalidReason.NotRecording,
                layer,
                $"{_shownName} is disabled in {Show(layer)} (no flag auto): enable it if nothing was written there since, else {StartAnew}"),
            _ => null,
        };

        private BitmapVerdict Invalid(InvalidReason reason, ChainLayer layer, string detail) =>
            new() { Name = _name, Images = _images, Reason = reason, Image = layer.Index, Detail = detail };

        private string ShowImages() => (_images.Count == 1 ? "image " : "each of images ") + string.Join(", ", _images);

        private static string Show(ChainLayer layer) => $"image {layer.Index} ({PrintableText.Escape(layer.Path)})";

        /// <summary>Why an image that looks as if it held bitmaps has none.</summary>
        private static string WhyIgnored(ChainLayer layer) =>
            layer.HasIgnoredBitmaps
                ? " (it has bitmaps, which count no longer: a program without bitmap support wrote to it)"
                : "";
    }
}
