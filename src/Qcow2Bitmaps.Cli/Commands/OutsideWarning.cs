using Qcow2Bitmaps.Cli.Output;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>Warns if an image now names a file that commands do not open automatically.</summary>
internal static class OutsideWarning
{
    /// <summary>Warns if the name leads out of the folders that are allowed by default.</summary>
    public static void Write(string imagePath, string name, bool isDataFile, MessageWriter messages)
    {
        if (new ChainOpenOptions().FindRefusal(imagePath, name, isDataFile) is { } refusal)
        {
            messages.Warn(
                $"{refusal}: commands open it with --allow-backing DIR only, or by the name of a symbolic link in the image's folder if it "
                + $"is a block device");
        }
    }
}
