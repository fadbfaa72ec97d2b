namespace Qcow2Bitmaps.Tests.Fixtures;

/// <summary>Finds the folder of the committed fixtures.</summary>
public static class FixtureFiles
{
    private const string SolutionFile = "Qcow2Bitmaps.sln";

    /// <summary>Gets the absolute path of the fixtures folder.</summary>
    public static string Root { get; } = Path.Combine(FindRepositoryRoot(), "fixtures");

    private static string FindRepositoryRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (new FileInfo(Path.Combine(folder.FullName, SolutionFile)).Exists)
            {
                return folder.FullName;
            }
        }

        throw new DirectoryNotFoundException($"No folder above {AppContext.BaseDirectory} holds {SolutionFile}.");
    }
}
